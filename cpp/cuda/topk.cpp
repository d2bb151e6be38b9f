// softmax_topk and topk on a device.
#include <string>

#include "cuda/device_call.h"
#include "cuda/loader.h"
#include "cuda/topk_plan.h"
#include "cuda/topk_rows_call.h"
#include "fastsoftmax/cuda_topk.hpp"
#include "view_checks.h"

namespace fastsoftmax::cuda {
namespace {

// Elements that are selected stay what they are, integers too.
Call as_they_are(Call call) {
  const std::int64_t item = itemsize(call.x_dtype);
  bool aligned = reinterpret_cast<std::uintptr_t>(call.x) % static_cast<std::uintptr_t>(item) == 0;
  for (const DimList* const dims : {&call.outer, &call.reduced}) {
    for (const Dim& dim : dims->view()) aligned = aligned && dim.x % item == 0;
  }
  call.row_dtype = call.x_dtype;
  call.aligned = aligned && !call.x_swapped;
  return call;
}

Picked picked_of(const TopkCall& topk) {
  if (topk.selection) return Picked::elements;
  if (topk.normalize == Normalize::topk) return Picked::scores;
  return topk.log ? Picked::log_softmax : Picked::softmax;
}

void check_outputs(const View& values, const View& indices) {
  check_elements(as_input(values), "values");
  check_elements(as_input(indices), "indices");
}

void run(const TopkRowsCall& call, int device, void* stream) {
  const Table& functions = table();
  check(functions, functions.topk(&call, device, stream));
}

}  // namespace

TopkRowsCall topk_rows_call(const TopkCall& topk) {
  if (topk.call.row_length > kLongestSelectedRow)
    throw InvalidArgument("rows on a GPU may have at most " + std::to_string(kLongestSelectedRow) +
                          " elements, not " + std::to_string(topk.call.row_length));
  TopkRowsCall call{};
  static_cast<RowsCall&>(call) = rows_call(topk.selection ? as_they_are(topk.call) : topk.call);
  call.op = topk.log ? kernels::RowOp::log_softmax : kernels::RowOp::softmax;
  call.item = static_cast<int>(itemsize(call.dtype));
  call.selection.k = topk.k;
  call.selection.picked = picked_of(topk);
  call.selection.smallest = topk.smallest;
  call.selection.inner = topk.inner;
  call.selection.values = topk.values;
  call.selection.indices = reinterpret_cast<std::int64_t*>(topk.indices);
  call.selection.logsumexp = topk.logsumexp;
  return call;
}

void softmax_topk(const ConstView& x, std::int64_t k, int axis, const View& values,
                  const View& indices, const TopKOptions& options, const View* logsumexp_out,
                  int device, void* stream, bool zero_is_one) {
  TopKOptions given = options;
  if (zero_is_one && given.temperature == 0.0) given.temperature = 1.0;
  const TopkCall topk =
      topk_call(x, k, axis, values, indices, given, logsumexp_out, /*on_device=*/true);
  if (topk.call.rows == 0) return;
  if (logsumexp_out != nullptr) check_elements(as_input(*logsumexp_out), "logsumexp");
  if (k > 0) {
    check_outputs(values, indices);
    TopkRowsCall call = topk_rows_call(topk);
    call.selection.zero_is_one = zero_is_one;
    return run(call, device, stream);
  }
  const int axes[] = {axis};
  if (logsumexp_out != nullptr)
    logsumexp(x, *logsumexp_out, axes, options_of_rows(options), device, stream);
}

void topk(const ConstView& x, std::int64_t k, int axis, const View& values, const View& indices,
          bool largest, int device, void* stream) {
  const TopkCall topk = topk_call(x, k, axis, values, indices, largest, 1);
  if (topk.call.rows == 0 || k == 0) return;
  check_outputs(values, indices);
  run(topk_rows_call(topk), device, stream);
}

}  // namespace fastsoftmax::cuda
