#include "loss_rows.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "dispatch.h"
#include "gather.h"
#include "loss_columns.h"
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

constexpr std::int64_t kRowsAtOnce = 256;
constexpr std::int64_t kElementsAtOnce = 16384;
// Elements of each row that a tile holds, a multiple of every block: so that it stays in L2.
constexpr std::int64_t kTileLength = kernels::kBlockF32;

static_assert(kRowsAtOnce <= LossColumns::kMaxColumns);

template <class T>
void weigh(const LossCoefficients& c, std::int64_t start, int count, T* k) {
  if (c.keep != 1.0 || c.spread != 0.0) {
    const T keep = static_cast<T>(c.keep);
    const T spread = static_cast<T>(c.spread);
    for (int i = 0; i < count; ++i) k[i] = smoothed(k[i], keep, spread);
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
  const LossColumns& columns;
  const Scratch& scratch;

  static void run(void* context, std::int64_t task, int worker) noexcept {
    const auto& t = *static_cast<const LossTask*>(context);
    char* const memory = t.scratch.of(worker);
    for_each_batch(t.rows.call, t.plan.rows_per_task, task,
                   t.columns ? t.columns.columns() : t.batch_rows(),
                   [&](std::int64_t row, std::int64_t count) { t.run_batch(row, count, memory); });
  }

  std::int64_t batch_rows() const {
    if (tiles) return tiles.rows();
    const std::int64_t length = std::max<std::int64_t>(rows.call.row_length, 1);
    return std::clamp<std::int64_t>(kElementsAtOnce / length, 1, kRowsAtOnce);
  }

  // Whether the scores of a row are of no interest.
  bool skips(std::int64_t target) const {
    return rows.logsumexps.data == nullptr && target == kIgnored;
  }

  void run_batch(std::int64_t row, std::int64_t count, char* memory) const {
    const baseline::DefaultFloatEnvironment environment;
    std::array<std::int64_t, LossColumns::kMaxColumns> targets;
    rows.read_targets(row, count, targets.data());
    if (columns && columns.run(row, count, targets.data(), memory)) return;
    // Runs of rows that are skipped, or not.
    const std::int64_t most = batch_rows();
    for (std::int64_t first = 0; first < count;) {
      const std::int64_t* const target = targets.data() + first;
      std::int64_t run = 1;
      while (run < most && first + run < count && skips(target[run]) == skips(target[0])) ++run;
      run_rows(row + first, run, target, memory);
      first += run;
    }
  }

  LossJob job(std::int64_t row, std::int64_t count, const std::int64_t* targets) const {
    LossJob job{};
    job.rows = rows_job(rows.call, row, count);
    job.rows.first_row = row;
    job.rows.stream = plan.stream && !tiles;
    job.coefficients = rows.coefficients.kind;
    job.fetch_coefficients = fetch_coefficients;
    job.coefficients_context = &rows.coefficients;
    job.softcap = rows.softcap;
    job.targets = targets;
    return job;
  }

  void run_rows(std::int64_t row, std::int64_t count, const std::int64_t* targets,
                char* tile) const {
    std::array<RowLoss, kRowsAtOnce> found;
    if (!skips(targets[0])) find(row, count, targets, tile, found.data());
    std::array<LossGradient, kRowsAtOnce> gradients;
    std::array<double, kRowsAtOnce> losses;
    std::array<double, kRowsAtOnce> logsumexps;
    for (std::size_t r = 0; r < static_cast<std::size_t>(count); ++r) {
      const RowLoss& loss = found[r];
      const LossWeights weights = rows.weights_of(row + static_cast<std::int64_t>(r), targets[r]);
      const bool ignored = targets[r] == kIgnored;
      losses[r] = ignored ? 0.0 : loss_of(weights, loss);
      if (rows.logsumexps.data != nullptr) logsumexps[r] = logsumexp_of(loss);
      gradients[r] = {};
      if (ignored)
        gradients[r].kind = LossGradient::zero;
      else if (rows.with_gradient)
        gradients[r] = gradient_of(weights, loss);
    }
    const auto size = static_cast<std::size_t>(count);
    put_rows(rows.losses, row, {losses.data(), size});
    if (rows.logsumexps.data != nullptr) put_rows(rows.logsumexps, row, {logsumexps.data(), size});
    if (!rows.with_gradient) return;
    for_each_part(row, count, targets, tile,
                  [&](const LossJob& part, std::int64_t first, const RowsJob& lying) {
                    kernels.gradient(part, gradients.data() + first);
                    if (tiles) tiles.store(rows.call, lying, tile);
                  });
  }

  // body(job, its first row, where its rows lie) for all elements of the rows: as they lie, or in
  // tiles, which are taken row by row of the array.
  template <class Body>
  void for_each_part(std::int64_t row, std::int64_t count, const std::int64_t* targets, char* tile,
                     Body body) const {
    if (!tiles) {
      const LossJob whole = job(row, count, targets);
      return body(whole, 0, whole.rows);
    }
    const Dim& along = rows.call.reduced.dims[0];
    const std::int64_t length = rows.call.row_length;
    for (std::int64_t start = 0; start < length; start += kTileLength) {
      for (std::int64_t first = 0; first < count; first += tiles.rows()) {
        LossJob part = job(row + first, std::min(tiles.rows(), count - first), targets + first);
        part.rows.length = std::min(kTileLength, length - start);
        part.rows.x = static_cast<const char*>(part.rows.x) + start * along.x;
        part.rows.y = static_cast<char*>(part.rows.y) + start * along.y;
        part.first_element = start;
        part.in_parts = length > kTileLength;
        std::array<std::int64_t, kRowsAtOnce> targets_here;
        std::transform(part.targets, part.targets + part.rows.rows, targets_here.begin(),
                       [start](std::int64_t target) { return target - start; });
        part.targets = targets_here.data();
        const RowsJob lying = part.rows;
        tiles.load(rows.call, part.rows, tile);
        part.rows.y = tile;
        part.rows.y_stride = part.rows.x_stride;
        body(part, first, lying);
      }
    }
  }

  void find(std::int64_t row, std::int64_t count, const std::int64_t* targets, char* tile,
            RowLoss* found) const {
    std::array<LossTotals, kRowsAtOnce> totals;
    std::fill_n(totals.begin(), count, LossTotals{});
    for_each_part(row, count, targets, tile,
                  [&](const LossJob& part, std::int64_t first, const RowsJob&) {
                    kernels.add(part, totals.data() + first);
                  });
    kernels.finish(totals.data(), count, found);
    for (std::int64_t r = 0; r < count; ++r) {
      if (found[r].kind == RowLoss::irregular)
        found[r] = irregular(row + r, targets + r);
      else if (rows.coefficients.kind == kernels::Coefficients::given && cancels(found[r]))
        found[r].distance = irregular(row + r, targets + r).distance;
    }
  }

  // A row as it lies.
  RowLoss irregular(std::int64_t row, const std::int64_t* target) const {
    const bool direct = rows.call.direct;
    return kernels_for(table.loss, rows.call.row_dtype, direct).irregular(job(row, 1, target), 0);
  }
};

}  // namespace

double sum_in_order(std::span<const double> values) {
  std::array<double, kSumChains> sums{};
  std::array<double, kSumChains> errors{};
  std::size_t i = 0;
  for (; i + kSumChains <= values.size(); i += kSumChains) {
    for (std::size_t c = 0; c < kSumChains; ++c) add_to_chain(sums[c], errors[c], values[i + c]);
  }
  for (std::size_t c = 0; i < values.size(); ++i, ++c) add_to_chain(sums[c], errors[c], values[i]);
  return join_chains(sums.data(), errors.data());
}

void LossRows::read_targets(std::int64_t row, std::int64_t count, std::int64_t* to) const {
  if (targets == nullptr) {
    std::fill_n(to, count, kNoTarget);
    return;
  }
  for (std::int64_t r = 0; r < count; ++r) {
    const std::int64_t target = targets[row + r];
    // What was checked, even if another thread has changed it since.
    const bool counts = (target != ignore_index) & is_class(target, call.row_length);
    to[r] = counts ? target : kIgnored;
  }
}

void put_rows(const View& to, std::int64_t row, std::span<const double> numbers) {
  if (to.dtype == DType::f64) {
    std::memcpy(static_cast<double*>(to.data) + row, numbers.data(), numbers.size_bytes());
    return;
  }
  char* const at = static_cast<char*>(to.data) + row * std::int64_t{sizeof(float)};
  std::array<float, 64> values;
  for (std::size_t first = 0; first < numbers.size(); first += values.size()) {
    const std::size_t count = std::min(values.size(), numbers.size() - first);
    for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(numbers[first + i]);
    std::memcpy(at + first * sizeof(float), values.data(), count * sizeof(float));
  }
}

void execute(LossRows& rows, int max_threads) {
  Call& call = rows.call;
  if (call.rows == 0) return;
  rows.coefficients.row_dtype = call.row_dtype;
  call.direct = call.layout == Layout::rows;
  Plan plan = plan_for(call, Algorithm::online, max_threads);
  if (plan.share_row) plan.rows_per_task = 1;
  const RowTiles tiles({{call, rows.with_gradient}}, kTileLength);
  const LossColumns columns(rows, static_cast<bool>(tiles));
  tiles.fit_tasks(plan, call.rows);
  const Scratch scratch(static_cast<std::size_t>(std::max(tiles.bytes(), columns.bytes())),
                        plan.threads);
  const KernelTable& table = kernels_in_use();
  const LossKernels& kernels = kernels_for(table.loss, call.row_dtype, call.direct || tiles);
  LossTask task{rows, plan, table, kernels, tiles, columns, scratch};
  const std::int64_t tasks = divide_up(call.rows, plan.rows_per_task);
  parallel_for(tasks, plan.threads, LossTask::run, &task);
}

}  // namespace fastsoftmax
