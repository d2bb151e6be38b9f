// softmax_stats of arrays in the memory of an NVIDIA GPU, with the bits of the function in
// stats.hpp. cuda.hpp says where the kernels are.
#pragma once

#include "fastsoftmax/cuda.hpp"
#include "fastsoftmax/stats.hpp"

namespace fastsoftmax::cuda {

// As the function of stats.hpp, but that all arrays are in memory of `device`, that work is
// submitted to `stream` (a cudaStream_t of that device; null is the default stream) without waiting
// for it, and that options.max_threads has no effect. x is of a floating type;
// options.temperatures may have any type, and one that is not positive and finite makes its row's
// results NaN, since values cannot be checked. All elements are aligned and in native byte order;
// at most eight axes may remain besides `axis`, once those that can be walked as one have been
// joined. Throws what that function throws, and Unavailable.
void softmax_stats(const ConstView& x, int axis, const SoftmaxStats& out,
                   const StatsOptions& options, int device, void* stream);

}  // namespace fastsoftmax::cuda
