// The k largest scores of each row: those of each block by the kernels of top-k, and merged.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "dispatch.h"
#include "linear_checks.h"
#include "linear_rows.h"
#include "loss_options.h"
#include "rows_job.h"
#include "scratch.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

using kernels::LossGradient;
using kernels::RowLoss;
using kernels::TopkJob;
using kernels::TopkKernels;
using kernels::TopkOutcome;

template <class T>
struct Scored {
  T score;
  std::int64_t index;
};

// Whether a comes before b: NaN counts as largest, ties go to the lower class.
template <class T>
bool precedes(const Scored<T>& a, const Scored<T>& b) {
  const bool a_nan = a.score != a.score;
  const bool b_nan = b.score != b.score;
  if (a_nan != b_nan) return a_nan;
  if (!a_nan && a.score != b.score) return a.score > b.score;
  return a.index < b.index;
}

// The best of each row so far, in the outputs.
template <class T>
class Selection {
 public:
  Selection(LinearScores<T>& scores, std::int64_t k, T* values, std::int64_t* indices)
      : k_(k),
        values_(values),
        indices_(indices),
        kernels_(kernels_for(kernels_in_use().topk, dtype_of_arithmetic<T>, true)),
        found_(std::min(k, kBlock<T>)),
        kept_(static_cast<std::size_t>(scores.rows()), 0) {
    bytes_ = carve(nullptr).bytes;
    workers_ = memory_.reserve(static_cast<std::int64_t>(bytes_) * scores.threads());
  }

  // A strip, with the memory of a worker.
  void take(const Strip<T>& strip, int worker) {
    take(strip, carve(workers_ + worker * static_cast<std::int64_t>(bytes_)));
  }

 private:
  struct Memory {
    T* values;
    std::int64_t* indices;
    std::int64_t* regular;
    Scored<T>* merged;
    char* workspace;
    std::size_t bytes;
  };
  Memory carve(char* at) const {
    Carver carver(at);
    Memory m{};
    m.values = carver.take<T>(kStripRows<T> * found_);
    m.indices = carver.take<std::int64_t>(kStripRows<T> * found_);
    m.regular = carver.take<std::int64_t>(kStripRows<T>);
    m.merged = carver.take<Scored<T>>(std::max(k_, kBlock<T>));
    m.workspace = carver.take<char>(1, kernels_.workspace_bytes(kBlock<T>, found_));
    m.bytes = carver.bytes();
    return m;
  }

  void take(const Strip<T>& strip, const Memory& m) {
    const std::int64_t count = std::min(found_, strip.classes);
    TopkJob job{};
    job.rows.x = strip.data;
    job.rows.x_stride = Strip<T>::row_bytes;
    job.rows.rows = strip.rows;
    job.rows.length = strip.classes;
    job.outcome = TopkOutcome::scores;
    job.k = count;
    job.values = m.values;
    job.indices = m.indices;
    job.regular = m.regular;
    job.workspace = m.workspace;
    kernels_.rows(job);
    for (std::int64_t r = 0; r < strip.rows; ++r) {
      T* const values = m.values + r * count;
      std::int64_t* const indices = m.indices + r * count;
      if (m.regular[r] == kernels::kIrregular) sort(strip, r, count, m, values, indices);
      for (std::int64_t i = 0; i < count; ++i) indices[i] += strip.first_class;
      merge(strip.first_row + r, values, indices, count, m.merged);
    }
  }

  // What the kernels leave alone: a row of a strip with a NaN.
  static void sort(const Strip<T>& strip, std::int64_t r, std::int64_t count, const Memory& m,
                   T* values, std::int64_t* indices) {
    for (std::int64_t c = 0; c < strip.classes; ++c) m.merged[c] = {strip.row(r)[c], c};
    std::partial_sort(m.merged, m.merged + count, m.merged + strip.classes, precedes<T>);
    for (std::int64_t i = 0; i < count; ++i) {
      values[i] = m.merged[i].score;
      indices[i] = m.merged[i].index;
    }
  }

  // Two sorted lists; the classes of the second come behind all of the first's.
  void merge(std::int64_t row, const T* values, const std::int64_t* indices, std::int64_t count,
             Scored<T>* merged) {
    T* const best = values_ + row * k_;
    std::int64_t* const at = indices_ + row * k_;
    std::int64_t& kept = kept_[static_cast<std::size_t>(row)];
    if (kept == k_ && !precedes<T>({values[0], indices[0]}, {best[k_ - 1], at[k_ - 1]})) return;
    const std::int64_t wanted = std::min(k_, kept + count);
    for (std::int64_t i = 0, a = 0, b = 0; i < wanted; ++i) {
      const bool second =
          a == kept || (b < count && precedes<T>({values[b], indices[b]}, {best[a], at[a]}));
      merged[i] = second ? Scored<T>{values[b], indices[b]} : Scored<T>{best[a], at[a]};
      ++(second ? b : a);
    }
    for (std::int64_t i = 0; i < wanted; ++i) {
      best[i] = merged[i].score;
      at[i] = merged[i].index;
    }
    kept = wanted;
  }

  std::int64_t k_;
  T* values_;
  std::int64_t* indices_;
  const TopkKernels& kernels_;
  std::int64_t found_;  // of a block, at most
  std::vector<std::int64_t> kept_;
  std::size_t bytes_;
  Buffer<char> memory_;
  char* workers_;
};

// Scores to probabilities, or their logarithms, in place.
template <class T>
void normalize(const RowLoss& row, bool log, std::int64_t k, T* values) {
  if (log) {
    for (std::int64_t i = 0; i < k; ++i)
      values[i] = static_cast<T>((static_cast<double>(values[i]) - row.max) - row.log_sum);
    return;
  }
  // The probabilities are the gradient of logsumexp.
  LossGradient how{LossGradient::regular, row.max, row.log_sum, 1.0, 0.0, 0.0, 1.0};
  if (row.log_sum != row.log_sum) how.kind = LossGradient::nan;
  const std::int64_t none = kNoTarget;
  kernels::LossJob job{};
  job.rows.x = values;
  job.rows.y = values;
  job.rows.rows = 1;
  job.rows.length = k;
  job.targets = &none;
  kernels_for(kernels_in_use().loss, dtype_of_arithmetic<T>, true).gradient(job, &how);
}

template <class T>
void run(const LinearLayer& layer, std::int64_t k, const View& values, const View& indices,
         const View& logsumexp, bool log, const LinearOptions& options) {
  LinearScores<T> scores(layer, options.temperature, options.max_threads);
  if (k < 0) throw InvalidArgument("k must not be negative, got " + std::to_string(k));
  if (k > scores.classes())
    throw InvalidArgument("k is " + std::to_string(k) + ", but there are only " +
                          std::to_string(scores.classes()) + " classes");
  const std::int64_t count = scores.rows();
  const std::array shape = {count, k};
  const std::array sums_shape = {count};
  check_linear_output(values, "values", dtype_of_arithmetic<T>, shape, layer, {});
  const ConstView taken = as_input(values);
  check_linear_output(indices, "indices", DType::i64, shape, layer, {&taken});
  const ConstView also = as_input(indices);
  check_linear_output(logsumexp, "logsumexp", dtype_of_arithmetic<T>, sums_shape, layer,
                      {&taken, &also});
  const RowSet rows = all_rows(count);
  const auto terms = LinearRows<T>::Terms::of_none(count);
  LinearRows<T> totals(scores, rows, terms);
  std::optional<Selection<T>> selection;
  if (k > 0)
    selection.emplace(scores, k, static_cast<T*>(values.data),
                      static_cast<std::int64_t*>(indices.data));
  scores.sweep(rows, [&](const Tile<T>& tile, const Matrix&) {
    const int threads = tile_threads(tile.rows * tile.classes, scores.threads());
    for_each_strip(tile, scores.finish(), threads, scores.strip_buffers(),
                   [&](const Strip<T>& strip, int worker) {
                     totals.add(strip);
                     if (selection) selection->take(strip, worker);
                   });
  });
  totals.finish();
  std::vector<double> sums;
  for (std::int64_t r = 0; r < count; ++r) {
    sums.push_back(logsumexp_of(totals.loss(r)));
    if (k > 0) normalize(totals.loss(r), log, k, static_cast<T*>(values.data) + r * k);
  }
  put_rows(logsumexp, 0, sums);
}

}  // namespace

void linear_topk(const LinearLayer& layer, std::int64_t k, const View& values, const View& indices,
                 const View& logsumexp, bool log, const LinearOptions& options) {
  check_layer(layer);
  with_arithmetic(layer,
                  [&]<class T>() { run<T>(layer, k, values, indices, logsumexp, log, options); });
}

}  // namespace fastsoftmax
