// cross_entropy of arrays in the memory of an NVIDIA GPU, with the bits of the function in
// cross_entropy.hpp. cuda.hpp says where the kernels are.
#pragma once

#include "fastsoftmax/cross_entropy.hpp"
#include "fastsoftmax/cuda.hpp"

namespace fastsoftmax::cuda {

// As the function of cross_entropy.hpp, but that all arrays are in memory of `device`, that work is
// submitted to `stream` (a cudaStream_t of that device; null is the default stream) without waiting
// for it, and that options.max_threads has no effect. The logits are of a floating type; targets of
// any integer type, or floating; options.weight and options.grad_out of any floating type;
// `grad_out` is the number that stands for the latter where it is not given. All of them have
// aligned elements in native byte order. At most eight axes of each may remain besides that of the
// classes, once those that can be walked as one have been joined.
//
// Values cannot be checked: a target that is no class makes the loss and the gradient of its row
// NaN, and weighs 1 in a mean. Throws what that function throws otherwise, and Unavailable.
void cross_entropy(const ConstView& logits, const ConstView& targets, int axis,
                   const CrossEntropyOutputs& out, const CrossEntropyOptions& options,
                   double grad_out, int device, void* stream);

}  // namespace fastsoftmax::cuda
