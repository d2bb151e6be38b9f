// The gradients of backward.hpp, of arrays in the memory of an NVIDIA GPU; the library that has the
// kernels is found as cuda.hpp says.
#pragma once

#include <span>

#include "fastsoftmax/backward.hpp"

namespace fastsoftmax::cuda {

// As the functions of backward.hpp, with the bits of their results, but that all arrays are in
// memory of `device` and that work is submitted to `stream`, as for softmax in cuda.hpp: so the
// types that are taken, temperatures and numbers of axes. Throws what the functions of backward.hpp
// throw, and Unavailable.
void softmax_backward(const ConstView& grad, const ConstView& y, const View& out,
                      std::span<const int> axes, const BackwardOptions& options, int device,
                      void* stream);
void log_softmax_backward(const ConstView& grad, const ConstView& y, const View& out,
                          std::span<const int> axes, const BackwardOptions& options, int device,
                          void* stream);

}  // namespace fastsoftmax::cuda
