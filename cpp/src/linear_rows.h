// Rows of tiles on their way through the kernels of losses: totals while scores come in, then what
// is known of each row, then gradients in the place of scores.
#pragma once

#include <cstdint>
#include <vector>

#include "linear_tiles.h"
#include "loss_rows.h"

namespace fastsoftmax {

// Scores that stand in for the layer's at the targets, and where the derivatives of losses with
// respect to them go: gradients of the layer then leave targets out. One of each for each row of x.
// The bias of a target must be 0.
template <class T>
struct TargetScores {
  const T* scores = nullptr;  // null: those of the layer
  T* derivatives = nullptr;   // where gradients are wanted
};

template <class T>
class LinearRows {
 public:
  // Targets, for each row of `rows`, are numbers of classes of w; others are nobody's. Coefficients
  // as in LossJob: none, or ones, or the given ones of the classes of w. What is passed must last.
  struct Terms {
    std::vector<std::int64_t> targets;
    std::vector<T> class_weights;
    kernels::Coefficients coefficients = kernels::Coefficients::none;
    double softcap = 0.0;
    TargetScores<T> given{};

    // No targets.
    static Terms of_none(std::int64_t rows) { return {std::vector(at(rows), kNoTarget), {}}; }
  };
  LinearRows(LinearScores<T>& scores, const RowSet& rows, const Terms& terms);

  // Scores of a tile, to be called for all classes in order.
  void add(const Tile<T>& tile);
  void add(const Strip<T>& strip);
  // Once all scores of the rows [first, first + count) are there. again(visit) is to call
  // visit(tile) for all tiles of these rows, with the scores that add had: rows that have no
  // softmax, or scores beyond the domain of the exponential, are looked at twice more, for their
  // maxima, and for the sums of what is left when these are subtracted.
  template <class Again>
  void finish(std::int64_t first, std::int64_t count, Again again) {
    if (!sum_up(first, count)) return;
    again([this](const Tile<T>& tile) { find_maxima(tile); });
    if (!take_maxima(first, count)) return;
    again([this](const Tile<T>& tile) { add_shifted(tile); });
    finish_shifted(first, count);
  }
  // After scores_.sweep.
  void finish() {
    finish(0, static_cast<std::int64_t>(rows_.size()), [this](auto visit) {
      scores_.sweep(rows_, [&](const Tile<T>& tile, const Matrix&) { visit(tile); });
    });
  }

  const kernels::RowLoss& loss(std::int64_t row) const { return losses_[at(row)]; }
  // A target's own score; -inf where it is nobody's.
  double target_score(std::int64_t row) const;

  // The sum of the probabilities of the tile's classes, one block of them, for each row, from max
  // and logsum of `gradients`; +inf where it is not known. `masses` is numbered as the tile's rows.
  void masses(const Tile<T>& tile, const std::vector<kernels::LossGradient>& gradients,
              double* masses);
  // Whether a target of the tile's rows is one of its classes.
  bool has_target(const Tile<T>& tile) const;
  // From scores to their gradients, in place; 0 at targets whose scores were given.
  void write_gradient(const Tile<T>& tile, const std::vector<kernels::LossGradient>& gradients);

 private:
  // A job for a strip, and what it points to.
  struct StripJob {
    kernels::LossJob job;
    std::int64_t targets[kStripRows<T>];
  };
  void set_job(const Strip<T>& strip, StripJob& job) const;
  int threads_for(const Tile<T>& tile) const;
  // body(score, row of x) for targets that are classes of the tile.
  template <class Body>
  void for_each_target(const Tile<T>& tile, Body body) const;
  // To be called with a tile before its strips are read; twice does no harm.
  void put_given_scores(const Tile<T>& tile) const;
  // body(strip of one row, its number) for rows that are irregular.
  template <class Body>
  void for_each_irregular(const Tile<T>& tile, Body body);
  // The steps of finish; whether there is something left to do.
  bool sum_up(std::int64_t first, std::int64_t count);
  void find_maxima(const Tile<T>& tile);
  bool take_maxima(std::int64_t first, std::int64_t count);
  void add_shifted(const Tile<T>& tile);
  void finish_shifted(std::int64_t first, std::int64_t count);

  static std::size_t at(std::int64_t row) { return static_cast<std::size_t>(row); }

  LinearScores<T>& scores_;
  const RowSet& rows_;
  const Terms& terms_;
  const kernels::LossKernels& kernels_;
  std::vector<kernels::LossTotals> totals_;
  std::vector<kernels::RowLoss> losses_;
  std::vector<double> maxima_;  // of irregular rows; NaN where there is one
};

extern template class LinearRows<float>;
extern template class LinearRows<double>;

}  // namespace fastsoftmax
