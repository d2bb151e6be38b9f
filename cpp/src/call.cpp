#include "call.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "call_threads.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

std::array<bool, kMaxDims> reduced_axes(std::span<const int> axes, int ndim) {
  std::array<bool, kMaxDims> reduced{};
  for (const int axis : axes) {
    if (axis < -ndim || axis >= ndim)
      throw InvalidAxis("axis " + std::to_string(axis) +
                        " is out of bounds for array of dimension " + std::to_string(ndim));
    const auto at = static_cast<std::size_t>(axis < 0 ? axis + ndim : axis);
    if (reduced[at]) throw InvalidArgument("axis " + std::to_string(axis) + " is given twice");
    reduced[at] = true;
  }
  return reduced;
}

void check_overlap(Op op, const ConstView& x, const View& out, const Options& options,
                   DType row_dtype) {
  if (out.data == nullptr) return;
  if (overlaps_itself(out))
    throw InvalidArgument("elements of out share memory (a broadcast or overlapping view)");
  const ConstView target = as_input(out);
  const auto refuse = [&](const ConstView& input, const char* what) {
    if (input.data != nullptr && may_share_memory(target, input))
      throw InvalidArgument(std::string("out overlaps ") + what + " in memory");
  };
  const bool same =
      op != Op::logsumexp && x.data == out.data && x.dtype == row_dtype &&
      x.byteswapped == out.byteswapped &&
      std::equal(x.strides.begin(), x.strides.end(), out.strides.begin(), out.strides.end());
  if (!same) refuse(x, "x without being the same view");
  if (options.where) refuse(*options.where, "where");
  if (options.temperatures) refuse(*options.temperatures, "temperature");
}

[[noreturn]] void refuse_temperature(double temperature, DType row_dtype) {
  const bool rounded = temperature > 0 && std::isfinite(temperature);
  const char* const arithmetic = row_dtype == DType::f64 ? "float64" : "float32";
  throw InvalidArgument("temperature must be positive and finite" +
                        (rounded ? std::string(" once rounded to ") + arithmetic : "") + ", got " +
                        number_text(temperature));
}

bool joins(const Dim& a, const Dim& b) {
  return a.x == b.x * b.size && a.y == b.y * b.size && a.where == b.where * b.size &&
         a.temperature == b.temperature * b.size;
}

// Adds `dim` behind the list, as one with the last where all operands walk the two as one.
void append(DimList& list, const Dim& dim) {
  if (dim.size == 1) return;
  if (list.count > 0) {
    Dim& last = list.dims[static_cast<std::size_t>(list.count - 1)];
    if (joins(last, dim)) {
      last = {last.size * dim.size, dim.x, dim.y, dim.where, dim.temperature};
      return;
    }
  }
  list.push(dim);
}

// The outer axis along which both x and y are contiguous, if there is one.
int find_inner(const Call& call, std::int64_t item) {
  for (int i = call.outer.count - 1; i >= 0; --i) {
    const Dim& dim = call.outer.dims[static_cast<std::size_t>(i)];
    if (dim.x == item && dim.y == item) return i;
  }
  return -1;
}

bool is_multiple(const void* data, std::span<const std::int64_t> strides, std::int64_t item) {
  if (reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(item) != 0) return false;
  return std::all_of(strides.begin(), strides.end(),
                     [item](std::int64_t stride) { return stride % item == 0; });
}

void choose_layout(Call& call, const ConstView& x, const View& out, bool columns) {
  const std::int64_t item = itemsize(call.row_dtype);
  call.aligned = call.x_dtype == call.row_dtype && !call.x_swapped && !call.y_swapped &&
                 is_multiple(x.data, x.strides, item) && is_multiple(out.data, out.strides, item);
  call.plain = call.aligned && call.where == nullptr && call.temperatures == nullptr &&
               call.temperature == 1.0;
  call.direct = call.plain;
  const bool keeps_axis = call.op != Op::logsumexp;
  const auto contiguous = [&](const Dim& dim) {
    return dim.x == item && (!keeps_axis || dim.y == item);
  };
  call.layout = Layout::packed;
  if (call.reduced.count > 1) return;
  if (call.reduced.count == 0 || contiguous(call.reduced.dims[0])) {
    if (call.direct) call.layout = Layout::rows;
    return;
  }
  const int inner = call.aligned && columns ? find_inner(call, item) : -1;
  if (inner < 0) return;
  call.layout = Layout::columns;
  const auto at = call.outer.dims.begin() + inner;
  call.inner = *at;
  std::copy(at + 1, call.outer.dims.begin() + call.outer.count, at);
  --call.outer.count;
}

}  // namespace

std::int64_t DimList::size() const {
  std::int64_t product = 1;
  for (const Dim& dim : view()) product *= dim.size;
  return product;
}

bool is_valid_temperature(double temperature, DType row_dtype) noexcept {
  if (row_dtype == DType::f64) return temperature > 0.0 && std::isfinite(temperature);
  const float rounded = static_cast<float>(temperature);
  return rounded > 0.0f && std::isfinite(rounded);
}

Problem Call::problem() const {
  Problem p;
  p.op = op;
  p.dtype = row_dtype;
  p.layout = layout;
  p.rows = rows;
  p.row_length = row_length;
  p.columns = layout == Layout::columns ? inner.size : 1;
  p.in_place = in_place;
  p.stored_row = direct && (row_dtype == DType::f32 || row_dtype == DType::f64);
  return p;
}

void check_options(const Options& options) {
  if (options.algorithm > Algorithm::online_reload) throw InvalidArgument("unknown algorithm");
  if (options.empty > EmptyRow::zero) throw InvalidArgument("unknown value of empty");
  check_max_threads(options.max_threads);
}

Call make_call(Op op, const ConstView& x, const View& out, std::span<const int> axes,
               const Options& options, bool columns, bool on_device) {
  check_view(x, "x");
  check_data(x, "x");
  check_view(as_input(out), "out");
  check_options(options);
  const std::size_t ndim = x.shape.size();
  const auto reduced = reduced_axes(axes, static_cast<int>(ndim));
  const DType row_dtype = options.dtype.value_or(result_dtype(x.dtype));
  if (!is_floating(row_dtype))
    throw InvalidType("dtype must be a floating type, got " + std::string(name(row_dtype)));
  if (out.dtype != row_dtype)
    throw InvalidType("out has dtype " + std::string(name(out.dtype)) + ", expected " +
                      std::string(name(row_dtype)));
  bool shape_fits = out.shape.size() == ndim;
  for (std::size_t i = 0; shape_fits && i < ndim; ++i)
    shape_fits = out.shape[i] == (op == Op::logsumexp && reduced[i] ? 1 : x.shape[i]);
  if (!shape_fits)
    throw InvalidArgument("out has shape " + shape_text(out.shape) + " for x of shape " +
                          shape_text(x.shape));

  Call call;
  call.op = op;
  call.row_dtype = row_dtype;
  call.x_dtype = x.dtype;
  call.x_swapped = x.byteswapped && itemsize(x.dtype) > 1;
  call.y_swapped = out.byteswapped;
  call.x = static_cast<const char*>(x.data);
  call.y = static_cast<char*>(out.data);
  call.where = nullptr;
  call.temperatures = nullptr;
  call.temperature_dtype = DType::f64;
  call.temperature = options.temperature;
  call.empty = options.empty;

  std::array<std::int64_t, kMaxDims> where{};
  std::array<std::int64_t, kMaxDims> temperature{};
  if (options.where) {
    if (options.where->dtype != DType::boolean)
      throw InvalidType("where must be boolean, got " + std::string(name(options.where->dtype)));
    broadcast(*options.where, x.shape, "where", where);
    check_data(*options.where, "where");
    call.where = static_cast<const char*>(options.where->data);
  }
  if (options.temperatures) {
    const ConstView& t = *options.temperatures;
    if ((t.dtype != DType::f64 && !on_device) || t.byteswapped)
      throw InvalidType("temperature must be float64, got " + std::string(name(t.dtype)));
    broadcast(t, x.shape, "temperature", temperature);
    check_data(t, "temperature");
    check_per_row(t, x.shape, reduced, "temperature");
    if (!on_device) {
      for_each_value<double>(t, [&](double value) {
        if (!is_valid_temperature(value, row_dtype)) refuse_temperature(value, row_dtype);
      });
    }
    call.temperatures = static_cast<const char*>(t.data);
    call.temperature_dtype = t.dtype;
  } else if (!is_valid_temperature(options.temperature, row_dtype)) {
    refuse_temperature(options.temperature, row_dtype);
  }
  check_overlap(op, x, out, options, row_dtype);

  call.rows = 1;
  call.row_length = 1;
  for (std::size_t i = 0; i < ndim; ++i) {
    const Dim dim{x.shape[i], x.strides[i], out.strides[i], where[i], temperature[i]};
    (reduced[i] ? call.row_length : call.rows) *= dim.size;
    if (reduced[i]) {
      Dim inside = dim;
      if (op == Op::logsumexp) inside.y = 0;
      append(call.reduced, inside);
    } else {
      append(call.outer, dim);
    }
  }
  call.in_place = op != Op::logsumexp && x.data == out.data;
  choose_layout(call, x, out, columns);
  if (call.layout == Layout::packed) call.direct = false;
  return call;
}

}  // namespace fastsoftmax
