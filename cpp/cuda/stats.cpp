// softmax_stats on a device.
#include "cuda/device_call.h"
#include "cuda/loader.h"
#include "cuda/stats_arguments.h"
#include "fastsoftmax/cuda_stats.hpp"
#include "stats_checks.h"
#include "view_checks.h"

namespace fastsoftmax::cuda {

StatsCall stats_call(const ConstView& x, int axis, const SoftmaxStats& out,
                     const StatsOptions& options) {
  StatsCall call{};
  const Call host = checked_stats_call(x, axis, out, options, /*on_device=*/true);
  check_elements(as_input(out.max), "max");
  check_elements(as_input(out.logsumexp), "logsumexp");
  check_elements(as_input(out.entropy), "entropy");
  check_elements(as_input(out.top1), "top1");
  check_elements(as_input(out.margin), "margin");
  static_cast<RowsCall&>(call) = rows_call(host);
  take_columns(call);
  const auto data = [](const View& view) { return static_cast<char*>(view.data); };
  static_cast<StatsResults&>(call) = {data(out.max), data(out.logsumexp), data(out.entropy),
                                      data(out.top1), data(out.margin)};
  return call;
}

void softmax_stats(const ConstView& x, int axis, const SoftmaxStats& out,
                   const StatsOptions& options, int device, void* stream) {
  const StatsCall call = stats_call(x, axis, out, options);
  const Table& functions = table();
  check(functions, functions.stats(&call, device, stream));
}

}  // namespace fastsoftmax::cuda
