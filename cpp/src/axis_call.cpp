#include "axis_call.h"

#include <algorithm>
#include <array>
#include <string>

namespace fastsoftmax {

Call axis_call(const ConstView& x, int axis, const Options& options, bool on_device) {
  // The output is there for the checks; its elements lie apart, so that no layout with an inner
  // axis is chosen.
  const auto ndim = static_cast<int>(std::min<std::size_t>(x.shape.size(), kMaxDims));
  std::array<std::int64_t, kMaxDims> shape{};
  std::array<std::int64_t, kMaxDims> strides{};
  std::copy_n(x.shape.begin(), ndim, shape.begin());
  if (axis >= -ndim && axis < ndim)
    shape[static_cast<std::size_t>(axis < 0 ? axis + ndim : axis)] = 1;
  const DType dtype = options.dtype.value_or(result_dtype(x.dtype));
  std::int64_t step = 2 * itemsize(dtype);
  for (auto d = static_cast<std::size_t>(ndim); d-- > 0;) {
    strides[d] = step;
    step *= std::max<std::int64_t>(shape[d], 1);
  }
  const auto size = static_cast<std::size_t>(ndim);
  const int axes[] = {axis};
  return make_call(Op::logsumexp, x, {nullptr, dtype, {shape.data(), size}, {strides.data(), size}},
                   axes, options, /*columns=*/true, on_device);
}

void check_axis_output(const View& out, const char* what, DType dtype, const ConstView& x, int axis,
                       std::int64_t length) {
  const std::string name_of = what;
  if (out.dtype != dtype)
    throw InvalidType(name_of + " has dtype " + std::string(name(out.dtype)) + ", expected " +
                      std::string(name(dtype)));
  const auto ndim = x.shape.size();
  const std::size_t at = axis_of(x, axis);
  bool fits = out.shape.size() == ndim && out.strides.size() == ndim;
  std::int64_t step = itemsize(dtype);
  bool dense = !out.byteswapped;
  bool empty = false;
  for (std::size_t d = ndim; fits && d-- > 0;) {
    fits = out.shape[d] == (d == at ? length : x.shape[d]);
    dense = dense && (out.shape[d] <= 1 || out.strides[d] == step);
    empty = empty || out.shape[d] == 0;
    step *= out.shape[d];
  }
  if (!fits)
    throw InvalidArgument(name_of + " must have the shape of x with length " +
                          std::to_string(length) + " along the axis");
  if (!dense && !empty)
    throw InvalidArgument(name_of + " must be dense in C order and in native byte order");
  if (out.data == nullptr && !empty) throw InvalidArgument(name_of + " has no data");
}

void check_apart(const View& out, const char* what,
                 std::initializer_list<const ConstView*> others) {
  for (const ConstView* other : others) {
    if (other != nullptr && may_share_memory(as_input(out), *other))
      throw InvalidArgument(std::string(what) + " overlaps another array of the call");
  }
}

}  // namespace fastsoftmax
