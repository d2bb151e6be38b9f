// Gradients of softmax and log_softmax on a device.
#include "cuda/backward_device_call.h"
#include "cuda/loader.h"
#include "fastsoftmax/cuda_backward.hpp"

namespace fastsoftmax::cuda {
namespace {

void run(Op op, const ConstView& grad, const ConstView& y, const View& out,
         std::span<const int> axes, const BackwardOptions& options, int device, void* stream) {
  const BackwardCalls calls = backward_calls(op, grad, y, out, axes, options, /*on_device=*/true);
  const Table& functions = table();
  if (calls.grad.rows == 0 || calls.grad.row_length == 0) return;
  if (out.data == nullptr) throw InvalidArgument("out has no data");
  const BackwardCall call = backward_call(calls);
  check(functions, functions.backward(&call, device, stream));
}

}  // namespace

void softmax_backward(const ConstView& grad, const ConstView& y, const View& out,
                      std::span<const int> axes, const BackwardOptions& options, int device,
                      void* stream) {
  run(Op::softmax, grad, y, out, axes, options, device, stream);
}

void log_softmax_backward(const ConstView& grad, const ConstView& y, const View& out,
                          std::span<const int> axes, const BackwardOptions& options, int device,
                          void* stream) {
  run(Op::log_softmax, grad, y, out, axes, options, device, stream);
}

}  // namespace fastsoftmax::cuda
