// sample of arrays in the memory of an NVIDIA GPU, with the indices and log-probabilities of the
// function in sampling.hpp.
#pragma once

#include "fastsoftmax/cuda.hpp"
#include "fastsoftmax/sampling.hpp"

namespace fastsoftmax::cuda {

// As fastsoftmax::sample, but that all arrays are in memory of `device`, that work is submitted to
// `stream` as softmax() of cuda.hpp does, and that options.max_threads has no effect. x must have a
// floating type, and elements must be aligned and in native byte order. An array with one value for
// each row may be of any floating or integer type; its values are not looked at before they are
// used, and a row with one outside its range gets the index -1 and a log-probability of NaN.
// Outputs may have any strides that keep elements apart. Throws what that function throws,
// InvalidArgument for max_surprise, which is not supported, and Unavailable.
void sample(const ConstView& x, int axis, const View& indices, const SampleOptions& options,
            const View* logprobs, int device, void* stream);

}  // namespace fastsoftmax::cuda
