#include "fastsoftmax/stats.hpp"

#include <algorithm>
#include <array>

#include "axis_call.h"
#include "dispatch.h"
#include "execute.h"
#include "gather.h"
#include "kernels/kernel_table.h"
#include "rows_job.h"
#include "stats_checks.h"
#include "threads.h"

namespace fastsoftmax {
namespace {

using kernels::RowStats;
using kernels::StatsJob;

constexpr std::int64_t kBatchRows = 64;
constexpr std::size_t kFields = 5;

struct StatsTask {
  const Call& call;
  const Plan& plan;
  void (*kernel)(const StatsJob&);
  std::array<char*, kFields> fields;

  static void run(void* context, std::int64_t task, int) noexcept {
    const auto& t = *static_cast<const StatsTask*>(context);
    for_each_batch(t.call, t.plan.rows_per_task, task, kBatchRows,
                   [&](std::int64_t row, std::int64_t rows) {
                     if (t.call.row_dtype == DType::f64)
                       t.run_rows<double>(row, rows);
                     else
                       t.run_rows<float>(row, rows);
                   });
  }

  template <class T>
  void run_rows(std::int64_t row, std::int64_t rows) const {
    std::array<RowStats<T>, kBatchRows> stats;
    kernel({rows_job(call, row, rows), stats.data()});
    const std::int64_t item = itemsize(call.row_dtype);
    constexpr std::array members = {&RowStats<T>::max, &RowStats<T>::logsumexp,
                                    &RowStats<T>::entropy, &RowStats<T>::top1,
                                    &RowStats<T>::margin};
    for (std::size_t f = 0; f < kFields; ++f) {
      for (std::int64_t r = 0; r < rows; ++r)
        store_elements(&(stats[static_cast<std::size_t>(r)].*members[f]), call.row_dtype, 1,
                       fields[f] + (row + r) * item, item);
    }
  }
};

auto stats_kernel(const Call& call) {
  const kernels::KernelTable& table = kernels_in_use();
  const bool f64 = call.row_dtype == DType::f64;
  if (call.layout == Layout::rows && f64) return table.stats_f64;
  if (call.layout == Layout::rows && call.row_dtype == DType::f32) return table.stats_f32;
  return f64 ? table.stats_gathered_f64 : table.stats_gathered_f32;
}

std::array<const View*, kFields> views_of(const SoftmaxStats& out) {
  return {&out.max, &out.logsumexp, &out.entropy, &out.top1, &out.margin};
}

}  // namespace

Call checked_stats_call(const ConstView& x, int axis, const SoftmaxStats& out,
                        const StatsOptions& options, bool on_device) {
  Options core;
  core.temperature = options.temperature;
  core.temperatures = options.temperatures;
  core.where = options.where;
  core.max_threads = options.max_threads;
  const Call call = axis_call(x, axis, core, on_device);
  const std::array<const View*, kFields> views = views_of(out);
  constexpr std::array names = {"max", "logsumexp", "entropy", "top1", "margin"};
  std::array<ConstView, kFields> taken;
  const ConstView* const where = options.where ? &*options.where : nullptr;
  const ConstView* const temperatures = options.temperatures ? &*options.temperatures : nullptr;
  for (std::size_t f = 0; f < kFields; ++f) {
    check_axis_output(*views[f], names[f], call.row_dtype, x, axis, 1);
    check_apart(*views[f], names[f], {&x, where, temperatures});
    for (std::size_t g = 0; g < f; ++g) check_apart(*views[f], names[f], {&taken[g]});
    taken[f] = as_input(*views[f]);
  }
  return call;
}

void softmax_stats(const ConstView& x, int axis, const SoftmaxStats& out,
                   const StatsOptions& options) {
  Call call = checked_stats_call(x, axis, out, options);
  if (call.rows == 0) return;
  // Kernels for rows as they lie exist for f32 and f64; all others are gathered.
  if (call.row_dtype == DType::f16 || call.row_dtype == DType::bf16) call.direct = false;
  if (call.layout != Layout::rows) call.direct = false;
  const Plan plan = plan_for(call, Algorithm::automatic, options.max_threads);
  const std::int64_t per_task = plan.share_row ? 1 : plan.rows_per_task;
  Plan by_rows = plan;
  by_rows.rows_per_task = per_task;
  StatsTask task{call, by_rows, stats_kernel(call), {}};
  for (std::size_t f = 0; f < kFields; ++f)
    task.fields[f] = static_cast<char*>(views_of(out)[f]->data);
  parallel_for((call.rows + per_task - 1) / per_task, plan.threads, StatsTask::run, &task);
}

}  // namespace fastsoftmax
