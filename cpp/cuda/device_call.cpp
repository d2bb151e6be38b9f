#include "cuda/device_call.h"
#include "view_checks.h"

#include <string>

namespace fastsoftmax::cuda {
namespace {

Axis axis_of(const Dim& dim) { return {dim.size, dim.x, dim.y, dim.where, dim.temperature}; }

Axes axes_of(const DimList& dims, const char* what) {
  check_axis_count(dims.count, what);
  Axes axes{};
  axes.count = dims.count;
  for (int d = 0; d < dims.count; ++d)
    axes.axis[d] = axis_of(dims.dims[static_cast<std::size_t>(d)]);
  return axes;
}

bool is_contiguous(const Call& call) {
  if (call.where != nullptr || call.reduced.count > 1) return false;
  if (call.reduced.count == 0) return true;
  const std::int64_t item = itemsize(call.row_dtype);
  const Dim& dim = call.reduced.dims[0];
  return dim.x == item && (call.op == Op::logsumexp || dim.y == item);
}

}  // namespace

void check_elements(const ConstView& view, const char* what) {
  const std::int64_t item = itemsize(view.dtype);
  bool aligned =
      !view.byteswapped &&
      reinterpret_cast<std::uintptr_t>(view.data) % static_cast<std::uintptr_t>(item) == 0;
  for (std::size_t d = 0; d < view.shape.size(); ++d)
    aligned = aligned && (view.shape[d] <= 1 || view.strides[d] % item == 0);
  if (!aligned)
    throw InvalidArgument(std::string(what) +
                          " must have aligned elements in native byte order on a GPU");
  check_data(view, what);
}

void check_operand(const Call& call, const char* what) {
  if (call.x_dtype != call.row_dtype)
    throw InvalidType(std::string(what) + " has dtype " + std::string(name(call.x_dtype)) +
                      " on a GPU, expected " + std::string(name(call.row_dtype)) +
                      " or dtype=None and a floating type");
  if (!call.aligned)
    throw InvalidArgument("elements of arrays on a GPU must be aligned and in native byte order");
}

void check_temperatures(const Call& call) {
  if (call.temperatures == nullptr) return;
  const std::int64_t item = itemsize(call.temperature_dtype);
  auto misaligned =
      reinterpret_cast<std::uintptr_t>(call.temperatures) % static_cast<std::uintptr_t>(item) != 0;
  for (const Dim& dim : call.outer.view()) misaligned |= dim.temperature % item != 0;
  if (call.layout == fastsoftmax::Layout::columns) misaligned |= call.inner.temperature % item != 0;
  if (misaligned) throw InvalidArgument("elements of temperature must be aligned on a GPU");
}

void check_axis_count(int count, const char* what) {
  if (count > kMaxAxes)
    throw InvalidArgument("arrays on a GPU may have at most " + std::to_string(kMaxAxes) + " " +
                          what + " axes that cannot be walked as one, not " +
                          std::to_string(count));
}

RowsCall rows_call(const Call& call) {
  check_operand(call, "x");
  check_temperatures(call);
  RowsCall rows{};
  rows.op = static_cast<kernels::RowOp>(call.op);
  rows.dtype = call.row_dtype;
  rows.layout = call.layout == fastsoftmax::Layout::columns ? Layout::columns
                : is_contiguous(call)                       ? Layout::rows
                                                            : Layout::gathered;
  rows.empty_is_zero = call.empty == EmptyRow::zero;
  rows.temperature = call.temperature;
  rows.temperatures = call.temperatures;
  rows.temperature_dtype = call.temperature_dtype;
  rows.x = call.x;
  rows.y = call.y;
  rows.where = call.where;
  rows.length = call.row_length;
  rows.outer = axes_of(call.outer, "outer");
  rows.reduced = axes_of(call.reduced, "reduced");
  rows.rows = call.outer.size();
  if (rows.layout == Layout::columns) rows.inner = axis_of(call.inner);
  return rows;
}

void take_columns(RowsCall& call) {
  if (call.layout != Layout::gathered || call.outer.count == 0 || call.rows == 0) return;
  const Axis& last = call.outer.axis[call.outer.count - 1];
  const std::int64_t item = itemsize(call.dtype);
  if (last.x != item || (call.y != nullptr && last.y != item)) return;
  if (call.reduced.count != 1 || call.reduced.axis[0].x == item) return;
  call.layout = Layout::columns;
  call.inner = last;
  call.rows /= last.size;
  --call.outer.count;
}

}  // namespace fastsoftmax::cuda
