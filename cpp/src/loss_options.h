// What losses along an axis and losses of linear layers have in common: their options, arrays of
// numbers that go with them, and where the losses go.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fastsoftmax/cross_entropy.hpp"
#include "loss_rows.h"

namespace fastsoftmax {

// Throws where a number is outside of its range.
void check_loss_options(const CrossEntropyOptions& options);
// Throws unless scores of this type can be divided by a softcap, and multiplied.
void check_softcap(double softcap, DType dtype);
// Throws unless a view has this type and native byte order.
void check_dtype(const ConstView& view, DType dtype, const char* what);

// The elements of a view of type T, broadcast to `shape`, in C order.
template <class T>
std::vector<T> elements_of(const ConstView& view, std::span<const std::int64_t> shape,
                           const char* what);
extern template std::vector<double> elements_of(const ConstView&, std::span<const std::int64_t>,
                                                const char*);
extern template std::vector<std::int64_t> elements_of(const ConstView&,
                                                      std::span<const std::int64_t>, const char*);

// Those of a view of doubles of this very shape. Throws for other shapes and types.
std::vector<double> doubles_of(const ConstView& view, std::span<const std::int64_t> shape,
                               const char* what);

// Throws for another shape.
void check_shape(const ConstView& view, std::span<const std::int64_t> shape, const char* what);
// Throws unless targets, not of the shape of the logits or not floating, are of that of the rows
// and no floating numbers; without rows it is the shape alone.
void check_class_shape(const ConstView& targets, std::span<const std::int64_t> rows,
                       std::span<const std::int64_t> logits);
// Throws unless options.grad_out is a single number, or without reduction has the shape of the
// rows.
void check_upstream_shape(const CrossEntropyOptions& options, std::span<const std::int64_t> rows);
// Throws unless the loss, of this type, and the logsumexp have the shapes that outputs have.
void check_loss_outputs(const CrossEntropyOutputs& out, DType dtype, const ConstView& logits,
                        int axis, Reduction reduction);

// The weights of the classes; none where they were not given. Throws unless there are `classes`.
std::vector<double> class_weights_of(const CrossEntropyOptions& options, std::int64_t classes);
// Of a row whose target has this weight, among so many classes.
LossWeights weights_of_target(const CrossEntropyOptions& options, double weight,
                              std::int64_t classes);
// The gradient of what follows with respect to each loss, shaped as `rows`, or a single number, the
// same for all.
std::vector<double> upstream_of(const CrossEntropyOptions& options,
                                std::span<const std::int64_t> rows, double divisor);

// Losses of rows, or what becomes of them, to an f32 or f64 array.
void put_losses(const View& to, std::span<const double> losses, Reduction reduction,
                double divisor);

}  // namespace fastsoftmax
