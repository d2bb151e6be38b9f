#include "fastsoftmax/backward.hpp"

#include <algorithm>
#include <vector>

#include "backward_calls.h"
#include "dispatch.h"
#include "execute.h"
#include "fastsoftmax/tune.hpp"
#include "row_tiles.h"
#include "rows_job.h"
#include "threads.h"

namespace fastsoftmax {
namespace {

using kernels::BackwardJob;
using kernels::BackwardKernels;
using kernels::RowOp;
using kernels::RowsJob;
using kernels::SumPair;

struct Backward : BackwardCalls {
  RowOp op;
  Plan plan;
  const BackwardKernels* kernels;
  bool columns;  // rows lie next to each other along a strided axis

  // Of the rows from `row` on, how many lie in one run of both.
  std::int64_t rows_in_run(std::int64_t row) const {
    const std::int64_t of_grad = rows_per_run(grad);
    const std::int64_t of_output = rows_per_run(output);
    return std::min(of_grad - row % of_grad, of_output - row % of_output);
  }

  BackwardJob job(std::int64_t row, std::int64_t rows) const {
    const RowsJob factors = rows_job(output, row, rows);
    BackwardJob job{rows_job(grad, row, rows), factors.x, factors.x_stride, factors.context};
    job.rows.op = op;
    job.rows.stream = plan.stream;
    if (columns) {
      job.rows.x_stride = grad.reduced.dims[0].x;
      job.rows.y_stride = grad.reduced.dims[0].y;
      job.output_stride = output.reduced.dims[0].x;
    }
    return job;
  }

  void run_rows(std::int64_t first, std::int64_t last) const {
    for (std::int64_t row = first; row < last;) {
      const std::int64_t rows = std::min(last - row, rows_in_run(row));
      (columns ? kernels->columns : kernels->rows)(job(row, rows));
      row += rows;
    }
  }

  static void task(void* context, std::int64_t task, int) noexcept {
    const auto& b = *static_cast<const Backward*>(context);
    const std::int64_t first = task * b.plan.rows_per_task;
    b.run_rows(first, std::min(b.grad.rows, first + b.plan.rows_per_task));
  }
};

// A row that several threads share: its sums, then its output.
struct SharedRow {
  const Backward& call;
  BackwardJob job;
  std::int64_t blocks;
  std::vector<SumPair>& sums;
  SumPair total{};

  std::int64_t first(std::int64_t task) const { return task * call.plan.rows_per_task; }
  std::int64_t last(std::int64_t task) const { return std::min(blocks, first(task + 1)); }

  static void sum_task(void* context, std::int64_t task, int) noexcept {
    auto& s = *static_cast<SharedRow*>(context);
    s.call.kernels->sum(s.job, s.first(task), s.last(task), s.sums.data());
  }
  static void write_task(void* context, std::int64_t task, int) noexcept {
    auto& s = *static_cast<SharedRow*>(context);
    s.call.kernels->write(s.job, s.total, s.first(task), s.last(task));
  }
  void run() {
    const std::int64_t tasks = divide_up(blocks, call.plan.rows_per_task);
    parallel_for(tasks, call.plan.threads, sum_task, this);
    total = call.kernels->join(sums.data(), blocks);
    parallel_for(tasks, call.plan.threads, write_task, this);
  }
};

// Whether kernels may read and write rows as they lie in memory, whatever the temperature.
bool is_contiguous(const Call& call) {
  const std::int64_t item = itemsize(call.row_dtype);
  if (!call.aligned || call.reduced.count > 1) return false;
  return call.reduced.count == 0 ||
         (call.reduced.dims[0].x == item && call.reduced.dims[0].y == item);
}

void run(Op op, const ConstView& grad, const ConstView& y, const View& out,
         std::span<const int> axes, const BackwardOptions& options) {
  Backward backward{
      backward_calls(op, grad, y, out, axes, options), static_cast<RowOp>(op), {}, nullptr, false};
  Call& call = backward.grad;
  if (call.rows == 0 || call.row_length == 0) return;
  if (out.data == nullptr) throw InvalidArgument("out has no data");
  const bool direct = is_contiguous(call) && is_contiguous(backward.output);
  call.layout = backward.output.layout = direct ? Layout::rows : Layout::packed;
  call.in_place = call.in_place || backward.output.in_place;
  call.direct = backward.output.direct = direct;
  backward.columns = in_columns({call, true}) && in_columns({backward.output, false});
  Problem problem = call.problem();
  problem.inputs = 2;
  if (backward.columns) {
    problem.layout = Layout::columns;
    problem.columns = backward.rows_in_run(0);
  }
  Plan& plan = backward.plan;
  plan = plan_for(problem, Algorithm::online, options.max_threads);
  const bool contiguous = direct || backward.columns;
  backward.kernels = &kernels_for(kernels_in_use().backward, call.row_dtype, contiguous);
  if (plan.share_row) {
    const std::int64_t blocks = divide_up(call.row_length, plan.block);
    std::vector<SumPair> sums(static_cast<std::size_t>(blocks));
    for (std::int64_t row = 0; row < call.rows; ++row)
      SharedRow{backward, backward.job(row, 1), blocks, sums}.run();
  } else if (plan.threads == 1) {
    backward.run_rows(0, call.rows);
  } else {
    parallel_for(divide_up(call.rows, plan.rows_per_task), plan.threads, Backward::task, &backward);
  }
}

}  // namespace

void softmax_backward(const ConstView& grad, const ConstView& y, const View& out,
                      std::span<const int> axes, const BackwardOptions& options) {
  run(Op::softmax, grad, y, out, axes, options);
}

void log_softmax_backward(const ConstView& grad, const ConstView& y, const View& out,
                          std::span<const int> axes, const BackwardOptions& options) {
  run(Op::log_softmax, grad, y, out, axes, options);
}

}  // namespace fastsoftmax
