#include "backward_calls.h"

#include <algorithm>
#include <string>

#include "view_checks.h"

namespace fastsoftmax {
namespace {

void check_alike(const ConstView& grad, const ConstView& y) {
  check_view(grad, "grad");
  check_view(y, "y");
  if (!std::equal(grad.shape.begin(), grad.shape.end(), y.shape.begin(), y.shape.end()))
    throw InvalidArgument("grad has shape " + shape_text(grad.shape) + " for y of shape " +
                          shape_text(y.shape));
  if (result_dtype(grad.dtype) != result_dtype(y.dtype))
    throw InvalidType("grad has dtype " + std::string(name(grad.dtype)) + ", expected that of y, " +
                      std::string(name(y.dtype)));
}

}  // namespace

BackwardCalls backward_calls(Op op, const ConstView& grad, const ConstView& y, const View& out,
                             std::span<const int> axes, const BackwardOptions& options,
                             bool on_device) {
  check_alike(grad, y);
  Options core;
  core.temperature = options.temperature;
  core.temperatures = options.temperatures;
  core.max_threads = options.max_threads;
  return {make_call(op, grad, out, axes, core, /*columns=*/false, on_device),
          make_call(op, y, out, axes, {}, /*columns=*/false, on_device)};
}

}  // namespace fastsoftmax
