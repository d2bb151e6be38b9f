// softmax_topk and topk of arrays in the memory of an NVIDIA GPU, with the bits and the indices of
// the functions in topk.hpp.
#pragma once

#include "fastsoftmax/cuda.hpp"
#include "fastsoftmax/topk.hpp"

namespace fastsoftmax::cuda {

// As the functions of topk.hpp, but that all arrays are in memory of `device`, that work is
// submitted to `stream` (cuda.hpp) without waiting for it, and that max_threads has no effect.
// Elements must be aligned and in native byte order, and those of x in softmax_topk floating; rows
// have fewer than 2^32 elements; at most eight axes besides the reduced one may remain once those
// that can be walked as one have been joined. options.temperatures may have any type; one that is
// not positive and finite makes the row's values NaN, and its indices those of a row of NaN: the
// first that `where` admits, then the others. With zero_is_one a temperature of 0 stands for 1, as
// in what sample tells of its rows. Throws what those functions throw, and Unavailable.
void softmax_topk(const ConstView& x, std::int64_t k, int axis, const View& values,
                  const View& indices, const TopKOptions& options, const View* logsumexp,
                  int device, void* stream, bool zero_is_one = false);
void topk(const ConstView& x, std::int64_t k, int axis, const View& values, const View& indices,
          bool largest, int device, void* stream);

}  // namespace fastsoftmax::cuda
