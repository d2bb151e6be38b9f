#include "cuda/backward_device_call.h"

#include <algorithm>
#include <vector>

#include "cuda/device_call.h"

namespace fastsoftmax::cuda {
namespace {

using AxisList = std::vector<BackwardAxis>;

// The innermost `size` elements of the last axis are done with.
void cut(DimList& list, std::int64_t size) {
  Dim& last = list.dims[static_cast<std::size_t>(list.count - 1)];
  last = {last.size / size, last.x * size, last.y * size, last.where * size,
          last.temperature * size};
  if (last.size == 1) --list.count;
}

// The axes of two calls that number their elements alike, cut wherever either has a cut.
AxisList common_axes(DimList grad, DimList output) {
  AxisList axes;
  while (grad.count > 0) {
    const Dim& g = grad.view().back();
    const Dim& o = output.view().back();
    const std::int64_t size = std::min(g.size, o.size);
    axes.push_back({size, g.x, o.x, g.y, g.temperature});
    cut(grad, size);
    cut(output, size);
  }
  std::reverse(axes.begin(), axes.end());
  return axes;
}

BackwardAxes axes_of(const AxisList& list, const char* what) {
  check_axis_count(static_cast<int>(list.size()), what);
  BackwardAxes axes{};
  axes.count = static_cast<int>(list.size());
  std::copy(list.begin(), list.end(), axes.axis);
  return axes;
}

}  // namespace

BackwardCall backward_call(const BackwardCalls& calls) {
  const Call& grad = calls.grad;
  check_operand(grad, "grad");
  check_operand(calls.output, "y");
  check_temperatures(grad);
  BackwardCall call{};
  call.op = static_cast<kernels::RowOp>(grad.op);
  call.dtype = grad.row_dtype;
  call.temperature = grad.temperature;
  call.temperatures = grad.temperatures;
  call.temperature_dtype = grad.temperature_dtype;
  call.grad = grad.x;
  call.output = calls.output.x;
  call.result = grad.y;
  call.length = grad.row_length;
  AxisList outer = common_axes(grad.outer, calls.output.outer);
  const AxisList reduced = common_axes(grad.reduced, calls.output.reduced);

  const std::int64_t item = itemsize(call.dtype);
  const auto is_contiguous = [&](const BackwardAxis& axis) {
    return axis.grad == item && axis.output == item && axis.result == item;
  };
  call.layout =
      std::all_of(reduced.begin(), reduced.end(), is_contiguous) ? Layout::rows : Layout::gathered;
  const auto inner = std::find_if(outer.rbegin(), outer.rend(), is_contiguous);
  if (call.layout == Layout::gathered && reduced.size() == 1 && inner != outer.rend()) {
    call.layout = Layout::columns;
    call.inner = *inner;
    outer.erase(std::next(inner).base());
  }
  call.rows = call.layout == Layout::columns ? grad.rows / call.inner.size : grad.rows;
  call.outer = axes_of(outer, "outer");
  call.reduced = axes_of(reduced, "reduced");
  return call;
}

}  // namespace fastsoftmax::cuda
