#include "loss_rows.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "dispatch.h"
#include "gather.h"
#include "row_tiles.h"
#include "rows_job.h"
#include "scratch.h"
#include "threads.h"

#define FASTSOFTMAX_ISA baseline
#include "simd/vec_common.h"

namespace fastsoftmax {
namespace {

using kernels::KernelTable;
using kernels::LossGradient;
using kernels::LossJob;
using kernels::LossKernels;
using kernels::LossTotals;
using kernels::RowLoss;
using kernels::RowsJob;

constexpr std::int64_t kBatchRows = 256;
constexpr std::int64_t kBatchElements = 16384;
// Elements of each row that a tile holds, a multiple of every block: so that it stays in L2.
constexpr std::int64_t kTileLength = kernels::kBlockF32;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

bool is_finite(const LossGradient& g) {
  return std::isfinite(g.softmax) && std::isfinite(g.coefficient) && std::isfinite(g.target);
}

template <class T>
void weigh(const LossCoefficients& c, std::int64_t start, int count, T* k) {
  if (c.keep != 1.0 || c.spread != 0.0) {
    const T keep = static_cast<T>(c.keep);
    const T spread = static_cast<T>(c.spread);
    for (int i = 0; i < count; ++i) k[i] = k[i] * keep + spread;
  }
  if (c.class_weights.empty()) return;
  const double* const w = c.class_weights.data() + start;
  for (int i = 0; i < count; ++i) k[i] = k[i] * static_cast<T>(w[i]);
}

// A FetchFn of coefficients.
void fetch_coefficients(const void* context, std::int64_t row, std::int64_t start, int count,
                        void* buffer) {
  const auto& c = *static_cast<const LossCoefficients*>(context);
  const bool f64 = c.row_dtype == DType::f64;
  if (c.probabilities != nullptr)
    fetch_row(c.probabilities, row, start, count, buffer);
  else if (f64)
    std::fill_n(static_cast<double*>(buffer), count, 1.0);
  else
    std::fill_n(static_cast<float*>(buffer), count, 1.0F);
  if (f64)
    weigh(c, start, count, static_cast<double*>(buffer));
  else
    weigh(c, start, count, static_cast<float*>(buffer));
}

struct LossTask {
  LossRows& rows;
  const Plan& plan;
  const KernelTable& table;
  const LossKernels& kernels;
  const RowTiles& tiles;
  const Scratch& scratch;

  static void run(void* context, std::int64_t task, int worker) noexcept {
    const auto& t = *static_cast<const LossTask*>(context);
    const std::int64_t length = std::max<std::int64_t>(t.rows.call.row_length, 1);
    const std::int64_t batch =
        t.tiles ? t.tiles.rows() : std::clamp<std::int64_t>(kBatchElements / length, 1, kBatchRows);
    char* const tile = t.scratch.of(worker);
    for_each_batch(t.rows.call, t.plan.rows_per_task, task, batch,
                   [&](std::int64_t row, std::int64_t count) { t.run_batch(row, count, tile); });
  }

  // Whether the scores of a row are of no interest.
  bool skips(std::int64_t row) const {
    return rows.logsumexps.empty() && rows.targets[static_cast<std::size_t>(row)] == kIgnored;
  }

  // Runs of rows that are skipped, or not.
  void run_batch(std::int64_t row, std::int64_t count, char* tile) const {
    const baseline::DefaultFloatEnvironment environment;
    for (const std::int64_t end = row + count; row < end;) {
      std::int64_t last = row + 1;
      while (last < end && skips(last) == skips(row)) ++last;
      run_rows(row, last - row, tile);
      row = last;
    }
  }

  LossJob job(std::int64_t row, std::int64_t count) const {
    LossJob job{};
    job.rows = rows_job(rows.call, row, count);
    job.rows.first_row = row;
    job.rows.stream = plan.stream;
    job.coefficients = rows.coefficients.kind;
    job.fetch_coefficients = fetch_coefficients;
    job.coefficients_context = &rows.coefficients;
    job.softcap = rows.softcap;
    job.targets = rows.targets.data() + row;
    return job;
  }

  void run_rows(std::int64_t row, std::int64_t count, char* tile) const {
    std::array<RowLoss, kBatchRows> found;
    if (!skips(row)) find(row, count, tile, found.data());
    std::array<LossGradient, kBatchRows> gradients;
    for (std::int64_t r = 0; r < count; ++r) {
      const auto at = static_cast<std::size_t>(row + r);
      const RowLoss& loss = found[static_cast<std::size_t>(r)];
      LossGradient& gradient = gradients[static_cast<std::size_t>(r)];
      const bool ignored = rows.targets[at] == kIgnored;
      rows.losses[at] = ignored ? 0.0 : loss_of(rows.weights[at], loss);
      if (!rows.logsumexps.empty()) rows.logsumexps[at] = logsumexp_of(loss);
      gradient = {};
      if (ignored)
        gradient.kind = LossGradient::zero;
      else if (rows.with_gradient)
        gradient = gradient_of(rows.weights[at], loss);
    }
    if (!rows.with_gradient) return;
    for_each_part(row, count, tile,
                  [&](const LossJob& part, std::int64_t first, const RowsJob& lying) {
                    kernels.gradient(part, gradients.data() + first);
                    if (tiles) tiles.store(rows.call, lying, tile);
                  });
  }

  // body(job, its first row, where its rows lie) for all elements of the rows: as they lie, or in
  // tiles, which are taken row by row of the array.
  template <class Body>
  void for_each_part(std::int64_t row, std::int64_t count, char* tile, Body body) const {
    if (!tiles) {
      const LossJob whole = job(row, count);
      return body(whole, 0, whole.rows);
    }
    const Dim& along = rows.call.reduced.dims[0];
    const std::int64_t length = rows.call.row_length;
    for (std::int64_t start = 0; start < length; start += kTileLength) {
      for (std::int64_t first = 0; first < count; first += tiles.rows()) {
        LossJob part = job(row + first, std::min(tiles.rows(), count - first));
        part.rows.length = std::min(kTileLength, length - start);
        part.rows.x = static_cast<const char*>(part.rows.x) + start * along.x;
        part.rows.y = static_cast<char*>(part.rows.y) + start * along.y;
        part.first_element = start;
        part.in_parts = length > kTileLength;
        std::array<std::int64_t, kBatchRows> targets;
        std::transform(part.targets, part.targets + part.rows.rows, targets.begin(),
                       [start](std::int64_t target) { return target - start; });
        part.targets = targets.data();
        const RowsJob lying = part.rows;
        tiles.load(rows.call, part.rows, tile);
        part.rows.y = tile;
        part.rows.y_stride = part.rows.x_stride;
        body(part, first, lying);
      }
    }
  }

  void find(std::int64_t row, std::int64_t count, char* tile, RowLoss* found) const {
    std::array<LossTotals, kBatchRows> totals;
    std::fill_n(totals.begin(), count, LossTotals{});
    for_each_part(row, count, tile, [&](const LossJob& part, std::int64_t first, const RowsJob&) {
      kernels.add(part, totals.data() + first);
    });
    kernels.finish(totals.data(), count, found);
    for (std::int64_t r = 0; r < count; ++r) {
      if (found[r].kind == RowLoss::irregular) found[r] = irregular(row + r);
    }
  }

  // A row as it lies.
  RowLoss irregular(std::int64_t row) const {
    const bool direct = rows.call.direct;
    return kernels_for(table.loss, rows.call.row_dtype, direct).irregular(job(row, 1), 0);
  }
};

}  // namespace

double loss_of(const LossWeights& w, const RowLoss& row) {
  const double sum = logsumexp_of(row);
  double loss = w.target * (w.target == 0.0 ? row.log_sum : row.log_sum - row.target);
  if (w.coefficients != 0.0)
    loss += w.coefficients * (row.coefficients * row.log_sum + row.distance);
  if (w.z != 0.0) loss += w.z * sum * sum;
  return loss == loss ? loss : kNan;
}

double logsumexp_of(const RowLoss& row) {
  return std::isinf(row.max) ? row.max : row.max + row.log_sum;
}

LossGradient gradient_of(const LossWeights& w, const RowLoss& row) {
  LossGradient g{LossGradient::regular, row.max, row.log_sum, 0.0, 0.0, 0.0};
  double softmax = w.target;
  if (w.coefficients != 0.0) softmax += w.coefficients * row.coefficients;
  if (w.z != 0.0) softmax += 2.0 * w.z * logsumexp_of(row);
  g.softmax = w.upstream * softmax;
  g.coefficient = -w.upstream * w.coefficients;
  g.target = -w.upstream * w.target;
  if (row.log_sum != row.log_sum || !is_finite(g)) g.kind = LossGradient::nan;
  return g;
}

double sum_in_order(const std::vector<double>& values) {
  double sum = 0.0;
  double error = 0.0;
  for (const double v : values) {
    const double next = sum + v;
    const double other = next - sum;
    error += (sum - (next - other)) + (v - other);
    sum = next;
  }
  return std::isfinite(sum) ? sum + error : sum;
}

void execute(LossRows& rows, int max_threads) {
  Call& call = rows.call;
  const auto count = static_cast<std::size_t>(call.rows);
  rows.losses.assign(count, 0.0);
  if (call.rows == 0) return;
  rows.coefficients.row_dtype = call.row_dtype;
  call.direct = call.layout == Layout::rows;
  Plan plan = plan_for(call, Algorithm::online, max_threads);
  if (plan.share_row) plan.rows_per_task = 1;
  const RowTiles tiles({{call, rows.with_gradient}}, kTileLength);
  tiles.fit_tasks(plan, call.rows);
  const Scratch scratch(static_cast<std::size_t>(tiles.bytes()), plan.threads);
  const KernelTable& table = kernels_in_use();
  const LossKernels& kernels = kernels_for(table.loss, call.row_dtype, call.direct || tiles);
  LossTask task{rows, plan, table, kernels, tiles, scratch};
  const std::int64_t tasks = (call.rows + plan.rows_per_task - 1) / plan.rows_per_task;
  parallel_for(tasks, plan.threads, LossTask::run, &task);
}

}  // namespace fastsoftmax
