#include "execute.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "dispatch.h"
#include "fastsoftmax/tune.hpp"
#include "gather.h"
#include "rows_job.h"
#include "scratch.h"
#include "threads.h"

namespace fastsoftmax {
namespace {

using kernels::BlockSum;
using kernels::ColumnsJob;
using kernels::KernelTable;
using kernels::kMaxTileColumns;
using kernels::RowAlgorithm;
using kernels::RowKernels;
using kernels::RowOp;
using kernels::RowScan;
using kernels::RowsJob;
using kernels::RowState;

std::size_t aligned(std::size_t bytes) { return Scratch::aligned(bytes); }

RowOp row_op(Op op) { return static_cast<RowOp>(op); }

RowAlgorithm row_algorithm(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::three_pass_reload:
      return RowAlgorithm::three_pass_reload;
    case Algorithm::two_pass:
      return RowAlgorithm::two_pass;
    case Algorithm::online:
      return RowAlgorithm::online;
    case Algorithm::online_reload:
      return RowAlgorithm::online_reload;
    default:
      return RowAlgorithm::three_pass_recompute;
  }
}

auto columns_kernel(const KernelTable& table, const Call& call) {
  if (!call.direct)
    return call.row_dtype == DType::f64 ? table.columns_gathered_f64 : table.columns_gathered_f32;
  switch (call.row_dtype) {
    case DType::f64:
      return table.columns_f64;
    case DType::f16:
      return table.columns_f16;
    case DType::bf16:
      return table.columns_bf16;
    default:
      return table.columns_f32;
  }
}

RowsJob planned_job(const Call& call, const Plan& plan, std::int64_t row, std::int64_t rows) {
  RowsJob job = rows_job(call, row, rows);
  job.op = row_op(call.op);
  job.algorithm = row_algorithm(plan.algorithm);
  job.stream = plan.stream;
  return job;
}

// What a worker needs besides the arrays: stored exponentials, and the exponents of blocks.
std::size_t bytes_of_rows(const Call& call, const Plan& plan) {
  const std::size_t stored = aligned(static_cast<std::size_t>(plan.scratch_bytes));
  if (plan.algorithm != Algorithm::online_reload) return stored;
  const std::int64_t exponents = plan.rows_in_flight * divide_up(call.row_length, plan.block);
  return stored + static_cast<std::size_t>(exponents) * sizeof(double);
}

void use_scratch(RowsJob& job, const Plan& plan, char* memory) {
  if (plan.scratch_bytes > 0) job.scratch = memory;
  job.interleave = plan.rows_in_flight > 1;
  job.scratch_stride = plan.scratch_bytes / plan.rows_in_flight;
  job.block_exponents = memory + aligned(static_cast<std::size_t>(plan.scratch_bytes));
}

void run_rows(const Call& call, const Plan& plan, const RowKernels& kernel, std::int64_t first,
              std::int64_t last, char* scratch) {
  const std::int64_t run = rows_per_run(call);
  for (std::int64_t row = first; row < last;) {
    const std::int64_t rows = std::min(last - row, run - row % run);
    RowsJob job = planned_job(call, plan, row, rows);
    use_scratch(job, plan, scratch);
    kernel.rows(job);
    row += rows;
  }
}

struct RowsTask {
  const Call& call;
  const Plan& plan;
  const RowKernels& kernel;
  const Scratch& scratch;

  static void run(void* context, std::int64_t task, int worker) noexcept {
    const auto& t = *static_cast<const RowsTask*>(context);
    const std::int64_t first = task * t.plan.rows_per_task;
    const std::int64_t last = std::min(t.call.rows, first + t.plan.rows_per_task);
    run_rows(t.call, t.plan, t.kernel, first, last, t.scratch.of(worker));
  }
};

void execute_rows(const Call& call, const Plan& plan, const KernelTable& table) {
  const RowKernels& kernel = row_kernels(table, call);
  const Scratch scratch(bytes_of_rows(call, plan), plan.threads);
  if (plan.threads == 1) return run_rows(call, plan, kernel, 0, call.rows, scratch.of(0));
  RowsTask task{call, plan, kernel, scratch};
  parallel_for(divide_up(call.rows, plan.rows_per_task), plan.threads, RowsTask::run, &task);
}

// A row that several threads share: each phase cuts its blocks into tasks.
struct SharedRow {
  const RowKernels& kernel;
  RowsJob job;
  std::int64_t blocks;
  std::int64_t blocks_per_task;
  std::vector<RowScan>& scans;
  std::vector<BlockSum>& sums;
  RowScan scan{};
  RowState state{};

  std::int64_t first(std::int64_t task) const { return task * blocks_per_task; }
  std::int64_t last(std::int64_t task) const {
    return std::min(blocks, first(task) + blocks_per_task);
  }

  static void scan_task(void* context, std::int64_t task, int) noexcept {
    auto& s = *static_cast<SharedRow*>(context);
    s.scans[static_cast<std::size_t>(task)] = s.kernel.scan(s.job, s.first(task), s.last(task));
  }
  static void sum_task(void* context, std::int64_t task, int) noexcept {
    auto& s = *static_cast<SharedRow*>(context);
    s.kernel.accumulate(s.job, s.scan, s.first(task), s.last(task), s.sums.data());
  }
  static void write_task(void* context, std::int64_t task, int) noexcept {
    auto& s = *static_cast<SharedRow*>(context);
    s.kernel.write(s.job, s.state, s.first(task), s.last(task));
  }

  void run(int threads) {
    const auto tasks = static_cast<std::int64_t>(scans.size());
    if (job.algorithm == RowAlgorithm::three_pass_reload ||
        job.algorithm == RowAlgorithm::three_pass_recompute) {
      parallel_for(tasks, threads, scan_task, this);
      scan = scans[0];
      for (const RowScan& s : scans) {
        if (s.max > scan.max) {
          scan.max = s.max;
          scan.first_block = s.first_block;
        }
        scan.min = std::min(scan.min, s.min);
      }
    }
    parallel_for(tasks, threads, sum_task, this);
    state = kernel.finish(job, sums.data(), blocks);
    if (state.kind == RowState::exceptional) return kernel.rows(job);
    parallel_for(job.op == RowOp::logsumexp ? 1 : tasks, threads, write_task, this);
  }
};

void execute_shared_rows(const Call& call, const Plan& plan, const KernelTable& table) {
  const RowKernels& kernel = row_kernels(table, call);
  const Scratch scratch(bytes_of_rows(call, plan), 1);
  const std::int64_t blocks = divide_up(call.row_length, plan.block);
  const std::int64_t tasks = divide_up(blocks, plan.rows_per_task);
  std::vector<RowScan> scans(static_cast<std::size_t>(tasks));
  std::vector<BlockSum> sums(static_cast<std::size_t>(blocks));
  for (std::int64_t row = 0; row < call.rows; ++row) {
    SharedRow shared{kernel, planned_job(call, plan, row, 1), blocks, plan.rows_per_task, scans,
                     sums};
    use_scratch(shared.job, plan, scratch.of(0));
    shared.run(plan.threads);
  }
}

struct ColumnsTask {
  const Call& call;
  const Plan& plan;
  const KernelTable& table;
  const Scratch& scratch;
  std::int64_t tiles;  // for each outer position

  static void run(void* context, std::int64_t task, int worker) noexcept {
    const auto& t = *static_cast<const ColumnsTask*>(context);
    t.run_tile(task / t.tiles, task % t.tiles * t.plan.tile_columns, t.scratch.of(worker));
  }

  void run_tile(std::int64_t outer, std::int64_t column, char* memory) const {
    const Offsets at = offsets_of(call.outer.view(), outer);
    const Dim& inner = call.inner;
    const Dim along = call.reduced.dims[0];
    ColumnsJob job{};
    job.op = row_op(call.op);
    job.algorithm = row_algorithm(plan.algorithm);
    job.x = call.x + at.x + column * inner.x;
    job.y = call.y + at.y + column * inner.y;
    job.x_stride = along.x;
    job.y_stride = along.y;
    job.length = call.row_length;
    job.columns = static_cast<int>(std::min(plan.tile_columns, inner.size - column));
    const ColumnsContext gathered{&call, call.x + at.x, call.y + at.y,
                                  call.where == nullptr ? nullptr : call.where + at.where};
    std::array<double, kMaxTileColumns> temperatures;
    if (!call.direct) {
      job.fetch = fetch_columns;
      job.store = store_columns;
      job.context = &gathered;
      job.first_column = column;
      for (std::int64_t c = 0; c < job.columns; ++c) {
        double& temperature = temperatures[static_cast<std::size_t>(c)];
        temperature = call.temperature;
        if (call.temperatures != nullptr)
          std::memcpy(&temperature,
                      call.temperatures + at.temperature + (column + c) * inner.temperature,
                      sizeof temperature);
      }
      job.temperatures = temperatures.data();
    }
    job.workspace = memory;
    job.stream = plan.stream;
    if (plan.scratch_bytes > 0) job.stored = memory + aligned(table.columns_workspace);
    job.empty_is_zero = call.empty == EmptyRow::zero;
    columns_kernel(table, call)(job);
  }
};

void execute_columns(const Call& call, const Plan& plan, const KernelTable& table) {
  const std::size_t bytes =
      aligned(table.columns_workspace) + static_cast<std::size_t>(plan.scratch_bytes);
  const Scratch scratch(bytes, plan.threads);
  const std::int64_t tiles = divide_up(call.inner.size, plan.tile_columns);
  ColumnsTask task{call, plan, table, scratch, tiles};
  parallel_for(call.outer.size() * tiles, plan.threads, ColumnsTask::run, &task);
}

}  // namespace

Plan plan_for(const Call& call, Algorithm requested, int max_threads) {
  return plan_for(call.problem(), requested, max_threads);
}

Plan plan_for(const Problem& problem, Algorithm requested, int max_threads) {
  const Machine& here = machine();
  int threads = 1;
  // Asking costs more than a small call takes, and such a call uses one thread anyway.
  if (problem.rows * problem.row_length >= 2 * here.constants.elements_per_thread)
    threads = max_threads > 0 ? std::min(max_threads, num_threads()) : num_threads();
  return make_plan(problem, requested, here, threads);
}

void execute(const Call& call, const Plan& plan) {
  if (call.rows == 0) return;
  if (call.row_length == 0 && call.op != Op::logsumexp) return;
  const KernelTable& table = kernels_in_use();
  if (call.layout == Layout::columns) return execute_columns(call, plan, table);
  if (plan.share_row) return execute_shared_rows(call, plan, table);
  execute_rows(call, plan, table);
}

}  // namespace fastsoftmax
