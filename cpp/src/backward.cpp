#include "fastsoftmax/backward.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "call.h"
#include "dispatch.h"
#include "execute.h"
#include "fastsoftmax/tune.hpp"
#include "rows_job.h"
#include "scratch.h"
#include "threads.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

using kernels::BackwardJob;
using kernels::BackwardKernels;
using kernels::RowOp;
using kernels::SumPair;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

constexpr std::int64_t kTileLine = 64;
constexpr std::int64_t kLargestTile = 8 << 20;  // bytes

// Rows along a strided axis, and their elements side by side.
template <class Element>
void to_rows(const void* x, std::int64_t step, const kernels::RowsJob& rows, char* tile,
             std::int64_t row_bytes) {
  const char* from = static_cast<const char*>(x);
  constexpr std::int64_t item = sizeof(Element);
  for (std::int64_t i = 0; i < rows.length; ++i, from += step, tile += item)
    for (std::int64_t r = 0; r < rows.rows; ++r)
      std::memcpy(tile + r * row_bytes, from + r * item, sizeof(Element));
}
template <class Element>
void from_rows(const char* tile, std::int64_t row_bytes, const kernels::RowsJob& rows, char* to,
               std::int64_t step) {
  constexpr std::int64_t item = sizeof(Element);
  for (std::int64_t i = 0; i < rows.length; ++i, to += step, tile += item)
    for (std::int64_t r = 0; r < rows.rows; ++r)
      std::memcpy(to + r * item, tile + r * row_bytes, sizeof(Element));
}

// Two calls with one result: their rows and elements are numbered alike.
struct Backward {
  Call grad;
  Call output;
  RowOp op;
  Plan plan;
  const BackwardKernels* kernels;
  std::int64_t tile_rows;  // 0: rows are not copied
  const Scratch* scratch;

  // Of the rows from `row` on, how many lie in one run of both.
  std::int64_t rows_in_run(std::int64_t row) const {
    const std::int64_t of_grad = rows_per_run(grad);
    const std::int64_t of_output = rows_per_run(output);
    return std::min(of_grad - row % of_grad, of_output - row % of_output);
  }

  BackwardJob job(std::int64_t row, std::int64_t rows) const {
    const kernels::RowsJob factors = rows_job(output, row, rows);
    BackwardJob job{rows_job(grad, row, rows), factors.x, factors.x_stride, factors.context};
    job.rows.op = op;
    job.rows.stream = plan.stream;
    return job;
  }

  // An odd number of lines, so that rows do not compete for the same places in the cache.
  std::int64_t tile_row_bytes() const {
    return (grad.row_length * itemsize(grad.row_dtype) / kTileLine / 2 * 2 + 3) * kTileLine;
  }
  std::int64_t tile_bytes() const { return 2 * tile_rows * tile_row_bytes(); }

  // As many rows as share cache lines, where rows lie next to each other in all three arrays.
  std::int64_t fitting_tile_rows() const {
    const auto strided = [](const Call& call) {
      return call.aligned && call.reduced.count == 1 && call.outer.count > 0;
    };
    if (grad.direct || !strided(grad) || !strided(output)) return 0;
    const std::int64_t item = itemsize(grad.row_dtype);
    const Dim& along_grad = grad.outer.view().back();
    const Dim& along_output = output.outer.view().back();
    if (along_grad.x != item || along_grad.y != item || along_output.x != item) return 0;
    const std::int64_t fitting = kLargestTile / (2 * tile_row_bytes());
    const std::int64_t rows =
        std::min({kTileLine / item, fitting, along_grad.size, along_output.size});
    return rows > 1 ? rows : 0;
  }

  // Rows of a tile, computed in place.
  template <class Element>
  void run_tile(BackwardJob job, char* tile) const {
    kernels::RowsJob& rows = job.rows;
    const std::int64_t row_bytes = tile_row_bytes();
    char* const factors = tile + tile_rows * row_bytes;
    char* const to = static_cast<char*>(rows.y);
    to_rows<Element>(rows.x, grad.reduced.dims[0].x, rows, tile, row_bytes);
    to_rows<Element>(job.output, output.reduced.dims[0].x, rows, factors, row_bytes);
    rows.x = rows.y = tile;
    job.output = factors;
    rows.x_stride = rows.y_stride = job.output_stride = row_bytes;
    kernels->rows(job);
    from_rows<Element>(tile, row_bytes, rows, to, grad.reduced.dims[0].y);
  }

  void run_rows(std::int64_t first, std::int64_t last, int worker) const {
    for (std::int64_t row = first; row < last;) {
      std::int64_t rows = std::min(last - row, rows_in_run(row));
      if (tile_rows == 0) {
        kernels->rows(job(row, rows));
      } else {
        rows = std::min(rows, tile_rows);
        char* const tile = scratch->of(worker);
        switch (itemsize(grad.row_dtype)) {
          case 8:
            run_tile<double>(job(row, rows), tile);
            break;
          case 4:
            run_tile<float>(job(row, rows), tile);
            break;
          default:
            run_tile<std::uint16_t>(job(row, rows), tile);
        }
      }
      row += rows;
    }
  }

  static void task(void* context, std::int64_t task, int worker) noexcept {
    const auto& b = *static_cast<const Backward*>(context);
    const std::int64_t first = task * b.plan.rows_per_task;
    b.run_rows(first, std::min(b.grad.rows, first + b.plan.rows_per_task), worker);
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

void check_alike(const ConstView& grad, const ConstView& y) {
  check_view(grad, "grad");
  check_view(y, "y");
  if (!std::equal(grad.shape.begin(), grad.shape.end(), y.shape.begin(), y.shape.end()))
    throw InvalidArgument("grad has shape " + shape_text(grad.shape) + " for y of shape " +
                          shape_text(y.shape));
  if (result_dtype(grad.dtype) != result_dtype(y.dtype))
    throw InvalidType("grad has dtype " + std::string(name(grad.dtype)) + ", expected that of y, " +
                      std::string(name(y.dtype)));
}

void run(Op op, const ConstView& grad, const ConstView& y, const View& out,
         std::span<const int> axes, const BackwardOptions& options) {
  check_alike(grad, y);
  Options core;
  core.temperature = options.temperature;
  core.temperatures = options.temperatures;
  core.max_threads = options.max_threads;
  Backward backward{make_call(op, grad, out, axes, core, false),
                    make_call(op, y, out, axes, {}, false),
                    static_cast<RowOp>(op),
                    {},
                    nullptr,
                    0,
                    nullptr};
  Call& call = backward.grad;
  if (call.rows == 0 || call.row_length == 0) return;
  if (out.data == nullptr) throw InvalidArgument("out has no data");
  const bool direct = is_contiguous(call) && is_contiguous(backward.output);
  call.layout = backward.output.layout = direct ? Layout::rows : Layout::packed;
  call.in_place = call.in_place || backward.output.in_place;
  call.direct = backward.output.direct = direct;
  call.op = Op::softmax;  // to the plan both are a pass that sums and one that writes
  Plan& plan = backward.plan;
  plan = plan_for(call, Algorithm::online, options.max_threads);
  // Of three arrays, as where two rows are in flight.
  const std::int64_t bytes = call.rows * call.row_length * itemsize(call.row_dtype);
  plan.stream = direct && !call.in_place && 2 * bytes >= machine().constants.stream_bytes;
  if (!plan.share_row) backward.tile_rows = backward.fitting_tile_rows();
  if (backward.tile_rows > 0)
    plan.rows_per_task = divide_up(plan.rows_per_task, backward.tile_rows) * backward.tile_rows;
  const Scratch scratch(static_cast<std::size_t>(backward.tile_bytes()), plan.threads);
  backward.scratch = &scratch;
  const bool contiguous = direct || backward.tile_rows > 0;
  backward.kernels = &kernels_for(kernels_in_use().backward, call.row_dtype, contiguous);
  if (plan.share_row) {
    const std::int64_t blocks = divide_up(call.row_length, plan.block);
    std::vector<SumPair> sums(static_cast<std::size_t>(blocks));
    for (std::int64_t row = 0; row < call.rows; ++row)
      SharedRow{backward, backward.job(row, 1), blocks, sums}.run();
  } else if (plan.threads == 1) {
    backward.run_rows(0, call.rows, 0);
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
