#include "linear_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "call_threads.h"
#include "dispatch.h"
#include "rows_job.h"

namespace fastsoftmax {
namespace {

using kernels::Coefficients;
using kernels::LossGradient;
using kernels::LossJob;
using kernels::LossTotals;
using kernels::RowLoss;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A FetchFn; the context points to the weight of the first class.
template <class T>
void fetch_weights(const void* context, std::int64_t, std::int64_t start, int count, void* buffer) {
  std::copy_n(static_cast<const T*>(context) + start, count, static_cast<T*>(buffer));
}

}  // namespace

template <class T>
LinearRows<T>::LinearRows(LinearScores<T>& scores, const RowSet& rows, const Terms& terms)
    : scores_(scores),
      rows_(rows),
      terms_(terms),
      kernels_(kernels_for(kernels_in_use().loss, dtype_of_arithmetic<T>, true)),
      totals_(rows.size()),
      losses_(rows.size()) {}

template <class T>
void LinearRows<T>::set_job(const Strip<T>& strip, StripJob& of) const {
  LossJob& job = of.job;
  job = {};
  job.rows.x = strip.data;
  job.rows.x_stride = strip.row_bytes();
  job.rows.y = strip.data;
  job.rows.y_stride = strip.row_bytes();
  job.rows.rows = strip.rows;
  job.rows.length = strip.classes;
  job.coefficients = terms_.coefficients;
  if (terms_.coefficients == Coefficients::given) {
    job.fetch_coefficients = fetch_weights<T>;
    job.coefficients_context = terms_.class_weights.data() + strip.first_class;
  }
  job.softcap = terms_.softcap;
  for (std::int64_t r = 0; r < strip.rows; ++r)
    of.targets[r] = terms_.targets[at(strip.first_row + r)] - strip.first_class;
  job.targets = of.targets;
  job.in_parts = true;
}

template <class T>
int LinearRows<T>::threads_for(const Tile<T>& tile) const {
  return fastsoftmax::threads_for(tile.rows * tile.classes, scores_.threads());
}

template <class T>
template <class Body>
void LinearRows<T>::for_each_target(const Tile<T>& tile, Body body) const {
  for (std::int64_t r = 0; r < tile.rows; ++r) {
    const std::int64_t target = terms_.targets[at(tile.first_row + r)];
    if (target >= tile.first_class && target < tile.first_class + tile.classes)
      body(*tile.at(target, r), rows_[at(tile.first_row + r)]);
  }
}

template <class T>
void LinearRows<T>::put_given_scores(const Tile<T>& tile) const {
  if (terms_.given.scores == nullptr) return;
  for_each_target(tile,
                  [this](T& score, std::int64_t row) { score = terms_.given.scores[at(row)]; });
}

template <class T>
void LinearRows<T>::add(const Tile<T>& tile) {
  put_given_scores(tile);
  for_each_strip(tile, scores_.finish(), threads_for(tile), scores_.strip_buffers(),
                 [this](const Strip<T>& strip, int) { add(strip); });
}

template <class T>
void LinearRows<T>::add(const Strip<T>& strip) {
  StripJob job;
  set_job(strip, job);
  kernels_.add(job.job, totals_.data() + strip.first_row);
}

template <class T>
template <class Body>
void LinearRows<T>::for_each_irregular(const Tile<T>& tile, Body body) {
  put_given_scores(tile);
  for_each_strip<T, Strips::copy>(
      tile, scores_.finish(), threads_for(tile), scores_.strip_buffers(),
      [&](const Strip<T>& strip, int) {
        for (std::int64_t r = 0; r < strip.rows; ++r) {
          const std::int64_t row = strip.first_row + r;
          if (losses_[at(row)].kind == RowLoss::irregular)
            body(Strip<T>{strip.row(r), strip.stride, row, 1, strip.first_class, strip.classes},
                 row);
        }
      });
}

template <class T>
bool LinearRows<T>::sum_up(std::int64_t first, std::int64_t count) {
  kernels_.finish(totals_.data() + first, count, losses_.data() + first);
  const auto of_first = losses_.begin() + first;
  const bool any = std::any_of(of_first, of_first + count,
                               [](const RowLoss& row) { return row.kind == RowLoss::irregular; });
  if (any) maxima_.assign(rows_.size(), -kInfinity);
  return any;
}

template <class T>
void LinearRows<T>::find_maxima(const Tile<T>& tile) {
  for_each_irregular(tile, [this](const Strip<T>& strip, std::int64_t row) {
    double& max = maxima_[at(row)];
    for (std::int64_t c = 0; c < strip.classes; ++c) {
      T z = strip.data[c];
      if (terms_.softcap != 0.0 && z == z) continue;  // which bounds it
      const auto score = static_cast<double>(z);
      if (!(score <= max)) max = max == max ? score : max;
    }
  });
}

template <class T>
bool LinearRows<T>::take_maxima(std::int64_t first, std::int64_t count) {
  bool any = false;
  for (std::int64_t r = first; r < first + count; ++r) {
    RowLoss& loss = losses_[at(r)];
    if (loss.kind != RowLoss::irregular) continue;
    const double max = maxima_[at(r)];
    loss = {RowLoss::irregular, max == max ? max : kNan, kNan, kNan, kNan, kNan};
    if (!std::isfinite(max)) continue;
    any = true;
    const double target = totals_[at(r)].target;
    totals_[at(r)] = {};
    totals_[at(r)].target = target;
  }
  return any;
}

template <class T>
void LinearRows<T>::add_shifted(const Tile<T>& tile) {
  for_each_irregular(tile, [this](const Strip<T>& strip, std::int64_t row) {
    const double max = maxima_[at(row)];
    if (!std::isfinite(max)) return;
    for (std::int64_t c = 0; c < strip.classes; ++c) strip.data[c] -= static_cast<T>(max);
    const double target = totals_[at(row)].target;
    add(strip);
    totals_[at(row)].target = target;
  });
}

template <class T>
void LinearRows<T>::finish_shifted(std::int64_t first, std::int64_t count) {
  for (std::int64_t r = first; r < first + count; ++r) {
    RowLoss& loss = losses_[at(r)];
    const double max = maxima_[at(r)];
    if (loss.kind != RowLoss::irregular || !std::isfinite(max)) continue;
    kernels_.finish(&totals_[at(r)], 1, &loss);
    loss.max = max;
    loss.target = totals_[at(r)].target - max;
  }
}

template <class T>
double LinearRows<T>::target_score(std::int64_t row) const {
  const std::int64_t target = terms_.targets[at(row)];
  return target < 0 || target >= scores_.classes() ? -kInfinity : totals_[at(row)].target;
}

template <class T>
void LinearRows<T>::masses(const Tile<T>& tile, const std::vector<LossGradient>& gradients,
                           double* masses) {
  for_each_strip(
      tile, scores_.finish(), threads_for(tile), scores_.strip_buffers(),
      [&](const Strip<T>& strip, int) {
        StripJob job;
        set_job(strip, job);
        job.job.coefficients = Coefficients::none;
        LossTotals totals[kStripRows<T>];
        RowLoss found[kStripRows<T>];
        kernels_.add(job.job, totals);
        kernels_.finish(totals, strip.rows, found);
        for (std::int64_t r = 0; r < strip.rows; ++r) {
          const std::int64_t row = strip.first_row + r;
          const LossGradient& whole = gradients[at(row)];
          double& mass = masses[row - tile.first_row];
          mass = kInfinity;
          if (whole.kind == LossGradient::zero) mass = 0.0;
          if (whole.kind == LossGradient::regular && found[r].kind == RowLoss::regular)
            mass = std::exp((found[r].max - whole.max) + (found[r].log_sum - whole.log_sum));
        }
      });
}

template <class T>
bool LinearRows<T>::has_target(const Tile<T>& tile) const {
  const auto first = terms_.targets.begin() + tile.first_row;
  return std::any_of(first, first + tile.rows, [&](std::int64_t target) {
    return target >= tile.first_class && target < tile.first_class + tile.classes;
  });
}

template <class T>
void LinearRows<T>::write_gradient(const Tile<T>& tile,
                                   const std::vector<LossGradient>& gradients) {
  put_given_scores(tile);
  for_each_strip<T, Strips::write>(tile, scores_.finish(), threads_for(tile),
                                   scores_.strip_buffers(), [&](const Strip<T>& strip, int) {
                                     StripJob job;
                                     set_job(strip, job);
                                     kernels_.gradient(job.job, gradients.data() + strip.first_row);
                                   });
  if (terms_.given.derivatives == nullptr) return;
  for_each_target(tile, [this](T& derivative, std::int64_t row) {
    terms_.given.derivatives[at(row)] = std::exchange(derivative, T(0));
  });
}

template class LinearRows<float>;
template class LinearRows<double>;

}  // namespace fastsoftmax
