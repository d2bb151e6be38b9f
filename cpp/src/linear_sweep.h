// One sweep over the scores of a linear layer: totals of all rows, and on the way whatever single
// classes or strips are wanted for.
#pragma once

#include <cstdint>
#include <vector>

#include "call_threads.h"
#include "linear_checks.h"
#include "linear_rows.h"

namespace fastsoftmax {

// NaN for a row that has no softmax.
inline double log_prob_of(const kernels::RowLoss& row, double score) {
  return row.log_sum == row.log_sum ? (score - row.max) - row.log_sum : kNan;
}

// The scores of certain classes, taken from the tiles as they come by.
template <class T>
class Gathered {
 public:
  // `ids`: so many for each row, and they must last; what is no class of the layer is passed over.
  Gathered(const std::vector<std::int64_t>& ids, std::int64_t per_row)
      : ids_(ids), per_row_(per_row), scores_(ids.size()) {}

  void take(const Tile<T>& tile, const Finish<T>& how) {
    for (std::int64_t r = 0; r < tile.rows; ++r) {
      const std::int64_t row = tile.first_row + r;
      for (std::int64_t i = row * per_row_; i < (row + 1) * per_row_; ++i) {
        const std::int64_t c = ids_[static_cast<std::size_t>(i)];
        if (c < tile.first_class || c >= tile.first_class + tile.classes) continue;
        T z = *tile.at(c, r);
        if (how.bias != nullptr) z += how.bias[c];
        if (how.temperature != T(1)) z /= how.temperature;
        scores_[static_cast<std::size_t>(i)] = static_cast<double>(z);
      }
    }
  }

  double operator[](std::int64_t i) const { return scores_[static_cast<std::size_t>(i)]; }
  std::int64_t row(std::int64_t i) const { return i / per_row_; }

 private:
  const std::vector<std::int64_t>& ids_;
  std::int64_t per_row_;
  std::vector<double> scores_;
};

template <class T>
class LinearSweep {
 public:
  LinearSweep(const LinearLayer& layer, double temperature, int max_threads)
      : scores_(layer, temperature, max_threads),
        rows_(all_rows(scores_.rows())),
        terms_(LinearRows<T>::Terms::of_none(scores_.rows())),
        totals_(scores_, rows_, terms_) {}
  LinearSweep(const LinearSweep&) = delete;
  LinearSweep& operator=(const LinearSweep&) = delete;

  LinearScores<T>& scores() { return scores_; }

  // take(strip, worker) for all strips, as for_each_strip has them.
  template <class Take>
  void run(Gathered<T>* gathered, Take take) {
    scores_.sweep(rows_, [&](const Tile<T>& tile, const Matrix&) {
      if (gathered != nullptr) gathered->take(tile, scores_.finish());
      for_each_strip(tile, scores_.finish(),
                     threads_for(tile.rows * tile.classes, scores_.threads()),
                     scores_.strip_buffers(), [&](const Strip<T>& strip, int worker) {
                       totals_.add(strip);
                       take(strip, worker);
                     });
    });
    totals_.finish();
  }
  void run(Gathered<T>* gathered = nullptr) {
    run(gathered, [](const Strip<T>&, int) {});
  }

  // After run.
  const kernels::RowLoss& loss(std::int64_t row) const { return totals_.loss(row); }
  double log_prob(const Gathered<T>& gathered, std::int64_t i) const {
    return log_prob_of(loss(gathered.row(i)), gathered[i]);
  }

 private:
  LinearScores<T> scores_;
  RowSet rows_;
  typename LinearRows<T>::Terms terms_;
  LinearRows<T> totals_;
};

}  // namespace fastsoftmax
