#include "fastsoftmax/topk.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "fastsoftmax/softmax.hpp"
#include "topk_call.h"

namespace fastsoftmax {
namespace {

using Axes = std::array<std::int64_t, kMaxDims>;

// x as a call that reduces `axis`. The output is only there for the checks; its elements lie apart,
// so that no layout with an inner axis is chosen.
Call call_of(const ConstView& x, int axis, const Options& options) {
  const auto ndim = static_cast<int>(std::min<std::size_t>(x.shape.size(), kMaxDims));
  Axes shape{};
  Axes strides{};
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
                   axes, options);
}

std::int64_t length_of(const ConstView& x, int axis) {
  return x
      .shape[static_cast<std::size_t>(axis < 0 ? axis + static_cast<int>(x.shape.size()) : axis)];
}

void check_k(std::int64_t k, std::int64_t length) {
  if (k < 0) throw InvalidArgument("k must not be negative, got " + std::to_string(k));
  if (k > length)
    throw InvalidArgument("k is " + std::to_string(k) + ", but rows have only " +
                          std::to_string(length) + " elements");
}

void check_output(const View& out, const char* what, DType dtype, const ConstView& x, int axis,
                  std::int64_t length) {
  const std::string name_of = what;
  if (out.dtype != dtype)
    throw InvalidType(name_of + " has dtype " + std::string(name(out.dtype)) + ", expected " +
                      std::string(name(dtype)));
  const auto ndim = x.shape.size();
  const auto at = static_cast<std::size_t>(axis < 0 ? axis + static_cast<int>(ndim) : axis);
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

ConstView as_input(const View& v) { return {v.data, v.dtype, v.shape, v.strides, v.byteswapped}; }

void check_apart(const View& out, const char* what,
                 std::initializer_list<const ConstView*> others) {
  for (const ConstView* other : others) {
    if (other != nullptr && may_share_memory(as_input(out), *other))
      throw InvalidArgument(std::string(what) + " overlaps another array of the call");
  }
}

TopkCall topk_call(const ConstView& x, std::int64_t k, int axis, const View& values,
                   const View& indices, const Options& options) {
  TopkCall topk;
  topk.call = call_of(x, axis, options);
  topk.k = k;
  check_k(k, length_of(x, axis));
  topk.values_dtype = values.dtype;
  topk.values = static_cast<char*>(values.data);
  topk.indices = static_cast<char*>(indices.data);
  const auto at =
      static_cast<std::size_t>(axis < 0 ? axis + static_cast<int>(x.shape.size()) : axis);
  for (std::size_t d = at + 1; d < x.shape.size(); ++d) topk.inner *= x.shape[d];
  return topk;
}

}  // namespace

void softmax_topk(const ConstView& x, std::int64_t k, int axis, const View& values,
                  const View& indices, const TopKOptions& options, const View* logsumexp_out) {
  if (options.normalize > Normalize::topk) throw InvalidArgument("unknown value of normalize");
  Options core;
  core.empty = options.empty;
  core.temperature = options.temperature;
  core.temperatures = options.temperatures;
  core.where = options.where;
  core.max_threads = options.max_threads;
  TopkCall topk = topk_call(x, k, axis, values, indices, core);
  const DType dtype = result_dtype(x.dtype);
  const ConstView* const where = options.where ? &*options.where : nullptr;
  const ConstView* const temperatures = options.temperatures ? &*options.temperatures : nullptr;
  check_output(values, "values", dtype, x, axis, k);
  check_output(indices, "indices", DType::i64, x, axis, k);
  check_apart(values, "values", {&x, where, temperatures});
  const ConstView taken = as_input(values);
  check_apart(indices, "indices", {&x, where, temperatures, &taken});
  if (logsumexp_out != nullptr) {
    check_output(*logsumexp_out, "logsumexp", dtype, x, axis, 1);
    const ConstView also = as_input(indices);
    check_apart(*logsumexp_out, "logsumexp", {&x, where, temperatures, &taken, &also});
    topk.logsumexp = static_cast<char*>(logsumexp_out->data);
  }
  topk.normalize = options.normalize;
  topk.log = options.log;
  if (topk.call.rows == 0) return;
  if (k > 0) return execute(topk, options.max_threads);
  const int axes[] = {axis};
  if (logsumexp_out != nullptr) logsumexp(x, *logsumexp_out, axes, core);
}

void topk(const ConstView& x, std::int64_t k, int axis, const View& values, const View& indices,
          bool largest, int max_threads) {
  Options core;
  core.max_threads = max_threads;
  TopkCall topk = topk_call(x, k, axis, values, indices, core);
  check_output(values, "values", x.dtype, x, axis, k);
  check_output(indices, "indices", DType::i64, x, axis, k);
  check_apart(values, "values", {&x});
  const ConstView taken = as_input(values);
  check_apart(indices, "indices", {&x, &taken});
  topk.selection = true;
  topk.smallest = !largest;
  if (topk.call.rows > 0 && k > 0) execute(topk, max_threads);
}

}  // namespace fastsoftmax
