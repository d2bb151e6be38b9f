#include "linear_selection.h"

#include <algorithm>

#include "dispatch.h"
#include "rows_job.h"
#include "scratch.h"

namespace fastsoftmax {
namespace {

using kernels::TopkJob;
using kernels::TopkOutcome;

// What the kernels leave alone: a row of a strip with a NaN.
template <class T>
void sort(const Strip<T>& strip, std::int64_t r, std::int64_t count, Scored<T>* sorted, T* values,
          std::int64_t* indices) {
  for (std::int64_t c = 0; c < strip.classes; ++c) sorted[c] = {strip.row(r)[c], c};
  std::partial_sort(sorted, sorted + count, sorted + strip.classes, precedes<T>);
  for (std::int64_t i = 0; i < count; ++i) {
    values[i] = sorted[i].score;
    indices[i] = sorted[i].index;
  }
}

}  // namespace

template <class T>
Selection<T>::Selection(LinearScores<T>& scores, std::int64_t k, T* values, std::int64_t* indices)
    : k_(k),
      values_(values),
      indices_(indices),
      kernels_(kernels_for(kernels_in_use().topk, dtype_of_arithmetic<T>, true)),
      found_(std::min(k, kBlock<T>)),
      kept_(static_cast<std::size_t>(scores.rows()), 0) {
  bytes_ = carve(nullptr).bytes;
  workers_ = memory_.reserve(static_cast<std::int64_t>(bytes_) * scores.threads());
}

template <class T>
typename Selection<T>::Memory Selection<T>::carve(char* at) const {
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

template <class T>
void Selection<T>::take(const Strip<T>& strip, const Memory& m) {
  const std::int64_t count = std::min(found_, strip.classes);
  TopkJob job{};
  job.rows.x = strip.data;
  job.rows.x_stride = strip.row_bytes();
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
    if (m.regular[r] == kernels::kIrregular) sort(strip, r, count, m.merged, values, indices);
    for (std::int64_t i = 0; i < count; ++i) indices[i] += strip.first_class;
    merge(strip.first_row + r, values, indices, count, m.merged);
  }
}

// Two sorted lists; the classes of the second come behind all of the first's.
template <class T>
void Selection<T>::merge(std::int64_t row, const T* values, const std::int64_t* indices,
                         std::int64_t count, Scored<T>* merged) {
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

template class Selection<float>;
template class Selection<double>;

}  // namespace fastsoftmax
