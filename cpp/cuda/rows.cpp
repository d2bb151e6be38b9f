// softmax, log_softmax and logsumexp on a device.
#include "cuda/device_call.h"
#include "cuda/loader.h"

namespace fastsoftmax::cuda {
namespace {

void run(Op op, const ConstView& x, const View& out, std::span<const int> axes,
         const Options& options, int device, void* stream) {
  const RowsCall call =
      rows_call(make_call(op, x, out, axes, options, /*columns=*/true, /*on_device=*/true));
  if (call.y == nullptr && call.rows > 0 && (op == Op::logsumexp || call.length > 0))
    throw InvalidArgument("out has no data");
  const Table& functions = table();
  check(functions, functions.run(&call, device, stream));
}

}  // namespace

void softmax(const ConstView& x, const View& out, std::span<const int> axes, const Options& options,
             int device, void* stream) {
  run(Op::softmax, x, out, axes, options, device, stream);
}
void log_softmax(const ConstView& x, const View& out, std::span<const int> axes,
                 const Options& options, int device, void* stream) {
  run(Op::log_softmax, x, out, axes, options, device, stream);
}
void logsumexp(const ConstView& x, const View& out, std::span<const int> axes,
               const Options& options, int device, void* stream) {
  run(Op::logsumexp, x, out, axes, options, device, stream);
}

}  // namespace fastsoftmax::cuda
