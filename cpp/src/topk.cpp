#include "fastsoftmax/topk.hpp"

#include <string>

#include "axis_call.h"
#include "fastsoftmax/softmax.hpp"
#include "topk_call.h"

namespace fastsoftmax {
namespace {

void check_k(std::int64_t k, std::int64_t length) {
  if (k < 0) throw InvalidArgument("k must not be negative, got " + std::to_string(k));
  if (k > length)
    throw InvalidArgument("k is " + std::to_string(k) + ", but rows have only " +
                          std::to_string(length) + " elements");
}

TopkCall call_of(const ConstView& x, std::int64_t k, int axis, const View& values,
                 const View& indices, const Options& options, bool on_device = false) {
  TopkCall topk;
  topk.call = axis_call(x, axis, options, on_device);
  topk.k = k;
  check_k(k, x.shape[axis_of(x, axis)]);
  topk.values_dtype = values.dtype;
  topk.values = static_cast<char*>(values.data);
  topk.indices = static_cast<char*>(indices.data);
  for (std::size_t d = axis_of(x, axis) + 1; d < x.shape.size(); ++d) topk.inner *= x.shape[d];
  return topk;
}

}  // namespace

Options options_of_rows(const TopKOptions& options) {
  Options core;
  core.empty = options.empty;
  core.temperature = options.temperature;
  core.temperatures = options.temperatures;
  core.where = options.where;
  core.max_threads = options.max_threads;
  return core;
}

TopkCall topk_call(const ConstView& x, std::int64_t k, int axis, const View& values,
                   const View& indices, const TopKOptions& options, const View* logsumexp_out,
                   bool on_device) {
  if (options.normalize > Normalize::topk) throw InvalidArgument("unknown value of normalize");
  TopkCall topk = call_of(x, k, axis, values, indices, options_of_rows(options), on_device);
  const DType dtype = result_dtype(x.dtype);
  const ConstView* const where = options.where ? &*options.where : nullptr;
  const ConstView* const temperatures = options.temperatures ? &*options.temperatures : nullptr;
  check_axis_output(values, "values", dtype, x, axis, k);
  check_axis_output(indices, "indices", DType::i64, x, axis, k);
  check_apart(values, "values", {&x, where, temperatures});
  const ConstView taken = as_input(values);
  check_apart(indices, "indices", {&x, where, temperatures, &taken});
  if (logsumexp_out != nullptr) {
    check_axis_output(*logsumexp_out, "logsumexp", dtype, x, axis, 1);
    const ConstView also = as_input(indices);
    check_apart(*logsumexp_out, "logsumexp", {&x, where, temperatures, &taken, &also});
    topk.logsumexp = static_cast<char*>(logsumexp_out->data);
  }
  topk.normalize = options.normalize;
  topk.log = options.log;
  return topk;
}

TopkCall topk_call(const ConstView& x, std::int64_t k, int axis, const View& values,
                   const View& indices, bool largest, int max_threads) {
  Options core;
  core.max_threads = max_threads;
  TopkCall topk = call_of(x, k, axis, values, indices, core);
  check_axis_output(values, "values", x.dtype, x, axis, k);
  check_axis_output(indices, "indices", DType::i64, x, axis, k);
  check_apart(values, "values", {&x});
  const ConstView taken = as_input(values);
  check_apart(indices, "indices", {&x, &taken});
  topk.selection = true;
  topk.smallest = !largest;
  return topk;
}

void softmax_topk(const ConstView& x, std::int64_t k, int axis, const View& values,
                  const View& indices, const TopKOptions& options, const View* logsumexp_out) {
  const TopkCall topk = topk_call(x, k, axis, values, indices, options, logsumexp_out);
  if (topk.call.rows == 0) return;
  if (k > 0) return execute(topk, options.max_threads);
  const int axes[] = {axis};
  if (logsumexp_out != nullptr) logsumexp(x, *logsumexp_out, axes, options_of_rows(options));
}

void topk(const ConstView& x, std::int64_t k, int axis, const View& values, const View& indices,
          bool largest, int max_threads) {
  const TopkCall topk = topk_call(x, k, axis, values, indices, largest, max_threads);
  if (topk.call.rows > 0 && k > 0) execute(topk, max_threads);
}

}  // namespace fastsoftmax
