// softmax, log_softmax and logsumexp of arrays in the memory of an NVIDIA GPU, with the bits of the
// functions in softmax.hpp.
//
// The kernels are in a library of their own, libfastsoftmax_cuda, that is looked for at the first
// call: where the environment variable FASTSOFTMAX_CUDA_LIBRARY says, or else beside the module or
// program that this code is linked into, and then where the system looks for libraries.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "fastsoftmax/softmax.hpp"

namespace fastsoftmax::cuda {

// No library, one of another version, no driver, no device, or an error of the device's.
class Unavailable : public Error {
  using Error::Error;
};

struct Status {
  bool available = false;
  std::string reason;         // where it is not
  std::string library;        // path or name; empty where none was found
  std::string architectures;  // that the library was built for, such as "75 80 90"
  std::vector<std::string> devices;
};
// Never throws for what is missing.
Status status();

// As the functions of softmax.hpp, but that x, out, options.where and options.temperatures are in
// memory of `device`, that work is submitted to `stream` (a cudaStream_t of that device; null is
// the default stream) without waiting for it, and that options.algorithm and options.max_threads
// have no effect. x must have the type of the result, with aligned elements in native byte order;
// at most eight reduced and eight other axes may remain once those that can be walked as one have
// been joined. options.temperatures may have any type; one that is not positive and finite makes
// its row NaN. Throws what the functions of softmax.hpp throw, and Unavailable.
void softmax(const ConstView& x, const View& out, std::span<const int> axes, const Options& options,
             int device, void* stream);
void log_softmax(const ConstView& x, const View& out, std::span<const int> axes,
                 const Options& options, int device, void* stream);
void logsumexp(const ConstView& x, const View& out, std::span<const int> axes,
               const Options& options, int device, void* stream);

// The device whose memory `data` is. Throws Unavailable.
int device_of(const void* data);
// Lets what is submitted to the stream `after` wait for what was submitted to `before`, both of
// `device`. Throws Unavailable.
void order(int device, void* before, void* after);

}  // namespace fastsoftmax::cuda
