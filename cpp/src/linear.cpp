#include "fastsoftmax/linear.hpp"

#include <array>
#include <string>
#include <vector>

#include "linear_checks.h"
#include "linear_rows.h"
#include "loss_options.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

void check_ids(const std::vector<std::int64_t>& ids, std::int64_t per_row, std::int64_t classes) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= classes)
      throw InvalidIndex("id " + std::to_string(ids[i]) + " of row " +
                         std::to_string(static_cast<std::int64_t>(i) / per_row) +
                         " is out of bounds for " + std::to_string(classes) + " classes");
  }
}

// The scores of certain classes, taken from the tiles as they come by.
template <class T>
class Gathered {
 public:
  Gathered(const std::vector<std::int64_t>& ids, std::int64_t per_row, const Finish<T>& how)
      : ids_(ids), per_row_(per_row), how_(how), scores_(ids.size()) {}

  void take(const Tile<T>& tile) {
    for (std::int64_t r = 0; r < tile.rows; ++r) {
      const std::int64_t row = tile.first_row + r;
      for (std::int64_t i = row * per_row_; i < (row + 1) * per_row_; ++i) {
        const std::int64_t c = ids_[static_cast<std::size_t>(i)];
        if (c < tile.first_class || c >= tile.first_class + tile.classes) continue;
        T z = tile.at(c)[r];
        if (how_.bias != nullptr) z += how_.bias[c];
        if (how_.temperature != T(1)) z /= how_.temperature;
        scores_[static_cast<std::size_t>(i)] = static_cast<double>(z);
      }
    }
  }

  double operator[](std::int64_t i) const { return scores_[static_cast<std::size_t>(i)]; }

 private:
  const std::vector<std::int64_t>& ids_;
  std::int64_t per_row_;
  const Finish<T>& how_;
  std::vector<double> scores_;
};

}  // namespace

void linear_logsumexp(const LinearLayer& layer, const View& out, const LinearOptions& options) {
  check_layer(layer);
  with_arithmetic(layer, [&]<class T>() {
    LinearScores<T> scores(layer, options.temperature, options.max_threads);
    const std::array shape = {scores.rows()};
    check_linear_output(out, "out", dtype_of_arithmetic<T>, shape, layer, {});
    const RowSet rows = all_rows(scores.rows());
    const auto terms = LinearRows<T>::Terms::of_none(scores.rows());
    LinearRows<T> totals(scores, rows, terms);
    scores.sweep(rows, [&](const Tile<T>& tile, const Matrix&) { totals.add(tile); });
    totals.finish();
    std::vector<double> sums;
    sums.reserve(rows.size());
    for (std::int64_t r = 0; r < scores.rows(); ++r) sums.push_back(logsumexp_of(totals.loss(r)));
    put_rows(out, 0, sums);
  });
}

void linear_log_prob(const LinearLayer& layer, const ConstView& ids, const View& out,
                     const LinearOptions& options) {
  check_layer(layer);
  check_view(ids, "ids");
  const std::int64_t rows = layer.x.shape[0];
  if (ids.shape.empty() || ids.shape.size() > 2 || ids.shape[0] != rows)
    throw InvalidArgument("ids have shape " + shape_text(ids.shape) + " for " +
                          std::to_string(rows) + " rows; expected (N,) or (N, M)");
  check_dtype(ids, DType::i64, "ids");
  const auto wanted = elements_of<std::int64_t>(ids, ids.shape, "ids");
  const std::int64_t per_row = ids.shape.size() == 2 ? ids.shape[1] : 1;
  check_ids(wanted, per_row, layer.w.shape[0]);
  with_arithmetic(layer, [&]<class T>() {
    LinearScores<T> scores(layer, options.temperature, options.max_threads);
    check_linear_output(out, "out", dtype_of_arithmetic<T>, ids.shape, layer, {&ids});
    const RowSet set = all_rows(rows);
    const auto terms = LinearRows<T>::Terms::of_none(rows);
    LinearRows<T> totals(scores, set, terms);
    Gathered<T> gathered(wanted, per_row, scores.finish());
    scores.sweep(set, [&](const Tile<T>& tile, const Matrix&) {
      gathered.take(tile);
      totals.add(tile);
    });
    totals.finish();
    std::vector<double> logs;
    for (std::int64_t i = 0; i < rows * per_row; ++i) {
      const kernels::RowLoss& row = totals.loss(i / per_row);
      const bool regular = row.log_sum == row.log_sum;
      logs.push_back(regular ? (gathered[i] - row.max) - row.log_sum : kNan);
    }
    put_rows(out, 0, logs);
  });
}

}  // namespace fastsoftmax
