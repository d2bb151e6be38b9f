// What is checked of the arrays of a linear layer, and how results get out.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "fastsoftmax/linear.hpp"
#include "linear_tiles.h"

namespace fastsoftmax {

// Throws unless x and w are matrices.
void check_layer(const LinearLayer& layer);
// Throws unless `out` is dense, of the given type and shape.
void check_dense(const View& out, const char* what, DType dtype,
                 std::span<const std::int64_t> shape);
// Throws unless `out` is dense, of the given type and shape, and apart from the layer and `others`.
void check_linear_output(const View& out, const char* what, DType dtype,
                         std::span<const std::int64_t> shape, const LinearLayer& layer,
                         std::initializer_list<const ConstView*> others);
// Classes that are asked for, (N,) or (N, M), in C order. Throws where there is no such class.
std::vector<std::int64_t> read_ids(const ConstView& ids, std::int64_t rows, std::int64_t classes);
RowSet all_rows(std::int64_t count);

}  // namespace fastsoftmax
