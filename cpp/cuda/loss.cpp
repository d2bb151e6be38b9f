// cross_entropy on a device.
#include "cuda/loader.h"
#include "cuda/loss_arguments.h"
#include "fastsoftmax/cuda_loss.hpp"

namespace fastsoftmax::cuda {

void cross_entropy(const ConstView& logits, const ConstView& targets, int axis,
                   const CrossEntropyOutputs& out, const CrossEntropyOptions& options,
                   double grad_out, int device, void* stream) {
  const LossCall call = loss_call(logits, targets, axis, out, options, grad_out);
  const Table& functions = table();
  check(functions, functions.loss(&call, device, stream));
}

}  // namespace fastsoftmax::cuda
