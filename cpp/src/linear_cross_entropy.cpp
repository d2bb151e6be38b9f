#include "fastsoftmax/linear_cross_entropy.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "linear_checks.h"
#include "linear_gradients.h"
#include "linear_loss.h"
#include "linear_rows.h"
#include "loss_options.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

using kernels::Coefficients;
using kernels::LossGradient;
using kernels::RowLoss;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// With fewer rows at a time a fourth product costs less than three slow ones.
constexpr std::int64_t kLeastChunkRows = 48;

void check_options(const LinearCrossEntropyOptions& o) {
  check_loss_options(o.loss);
  if (!(o.grad_mass_tol >= 0.0 && o.grad_mass_tol <= 1.0))
    throw InvalidArgument("grad_mass_tol must be between 0 and 1, got " +
                          number_text(o.grad_mass_tol));
  if (o.tile_bytes < 0)
    throw InvalidArgument("tile_bytes must not be negative, got " + std::to_string(o.tile_bytes));
  // So that scores stay in the domain of the exponential.
  constexpr double largest_softcap = 65536.0;
  if (o.loss.softcap > largest_softcap)
    throw InvalidArgument("softcap must be at most 65536, got " + number_text(o.loss.softcap));
  if (o.vocab_size && o.loss.label_smoothing > 0.0)
    throw InvalidArgument("label_smoothing must be 0 for a shard of the vocabulary");
}

// With more inputs than this class-major scores make products faster.
constexpr std::int64_t kMostRowInputs = 512;

template <class T>
class LinearLoss {
 public:
  LinearLoss(const LinearLayer& layer, const ConstView& targets,
             const LinearCrossEntropyOutputs& out, const LinearCrossEntropyOptions& options,
             const TargetScores<T>& given)
      : layer_(layer),
        out_(out),
        options_(options),
        scores_(layer, 1.0, options.loss.max_threads),
        vocabulary_(options.vocab_start, options.vocab_size, scores_.classes()) {
    terms_.given = given;
    check_options(options);
    check_softcap(options.loss.softcap, dtype_of_arithmetic<T>);
    class_weights_ = class_weights_of(options.loss, vocabulary_.end());
    read_targets(targets);
    read_upstream();
    check_outputs(targets);
  }

  bool with_gradients() const {
    return out_.grad_x.data != nullptr || out_.grad_w.data != nullptr ||
           out_.grad_bias.data != nullptr;
  }

  void forward() {
    LinearRows<T> of_rows(scores_, rows_, terms_);
    if (!with_gradients()) {
      sum(of_rows);
    } else {
      gradients_.resize(rows_.size());
      LinearGradients<T> gradients(scores_, rows_, of_rows, gradients_, out_, mass_tol());
      const std::int64_t chunk = chunk_rows();
      if (chunk >= std::min<std::int64_t>(count(), kLeastChunkRows)) {
        for (std::int64_t r = 0; r < count(); r += even_share(chunk))
          add_chunk(of_rows, gradients, r, std::min(even_share(chunk), count() - r));
      } else {
        sum(of_rows);
        for (std::int64_t r = 0; r < count(); ++r) set_gradient(r, of_rows.loss(r));
        recompute(gradients);
      }
      gradients.finish();
    }
    write_results(of_rows);
  }

  void backward(const ConstView& max, const ConstView& logsum) {
    const std::array shape = {scores_.rows()};
    const std::vector<double> maxima = doubles_of(max, shape, "max");
    const std::vector<double> sums = doubles_of(logsum, shape, "logsum");
    LinearRows<T> of_rows(scores_, rows_, terms_);
    gradients_.resize(rows_.size());
    double coefficients = 0.0;
    if (terms_.coefficients == Coefficients::ones)
      coefficients = static_cast<double>(scores_.classes());
    else if (terms_.coefficients == Coefficients::given)
      coefficients = sum_in_order(
          std::vector<double>(terms_.class_weights.begin(), terms_.class_weights.end()));
    for (std::int64_t r = 0; r < count(); ++r) {
      const std::size_t row = at(rows_[at(r)]);
      const double log_sum = std::isfinite(maxima[row]) ? sums[row] : kNan;
      set_gradient(r, {RowLoss::regular, maxima[row], log_sum, 0.0, coefficients, 0.0});
    }
    LinearGradients<T> gradients(scores_, rows_, of_rows, gradients_, out_, mass_tol());
    recompute(gradients);
    gradients.finish();
  }

 private:
  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
  std::int64_t count() const { return static_cast<std::int64_t>(rows_.size()); }
  double mass_tol() const {
    return terms_.coefficients == Coefficients::none ? options_.grad_mass_tol : 0.0;
  }

  // Rows that are ignored take no part from here on.
  void read_targets(const ConstView& targets) {
    check_view(targets, "targets");
    const std::array shape = {scores_.rows()};
    if (!std::ranges::equal(targets.shape, shape))
      throw InvalidArgument("targets have shape " + shape_text(targets.shape) + ", expected " +
                            shape_text(shape));
    check_dtype(targets, DType::i64, "targets");
    const auto given = elements_of<std::int64_t>(targets, shape, "targets");
    std::vector<double> counted;
    for (std::int64_t r = 0; r < scores_.rows(); ++r) {
      const std::int64_t target = given[at(r)];
      if (target == options_.loss.ignore_index) continue;
      if (!vocabulary_.has(target))
        vocabulary_.refuse("target " + std::to_string(target) + " of row " + std::to_string(r));
      const double weight = class_weights_.empty() ? 1.0 : class_weights_[at(target)];
      counted.push_back(weight);
      rows_.push_back(r);
      terms_.targets.push_back(vocabulary_.row_of(target));
      weights_.push_back(weights_of_target(options_.loss, weight, vocabulary_.size()));
    }
    divisor_ = sum_in_order(counted);
    terms_.softcap = options_.loss.softcap;
    if (options_.loss.label_smoothing == 0.0) return;
    terms_.coefficients = class_weights_.empty() ? Coefficients::ones : Coefficients::given;
    const auto first = class_weights_.begin() + (class_weights_.empty() ? 0 : vocabulary_.start());
    terms_.class_weights.assign(first, class_weights_.end());
  }

  void read_upstream() {
    const std::array shape = {scores_.rows()};
    const std::vector<double> upstream = upstream_of(options_.loss, shape, divisor_);
    for (std::size_t r = 0; r < rows_.size(); ++r)
      weights_[r].upstream = upstream[upstream.size() == 1 ? 0 : at(rows_[r])];
  }

  void check_outputs(const ConstView& targets) const {
    const std::int64_t n = scores_.rows();
    const std::array per_row = {n};
    const std::array as_x = {n, scores_.depth()};
    const std::array as_w = {scores_.classes(), scores_.depth()};
    const std::array as_bias = {scores_.classes()};
    const DType dtype = dtype_of_arithmetic<T>;
    std::vector<ConstView> taken;
    const auto check = [&](const View& view, const char* what, DType of,
                           std::span<const std::int64_t> shape) {
      if (view.data == nullptr) return;
      check_linear_output(view, what, of, shape, layer_, {&targets});
      for (const ConstView& other : taken)
        check_linear_output(view, what, of, shape, layer_, {&other});
      taken.push_back(as_input(view));
    };
    const bool reduced = options_.loss.reduction != Reduction::none;
    check(out_.loss, "loss", dtype, std::span(per_row).first(reduced ? 0 : 1));
    check(out_.max, "max", DType::f64, per_row);
    check(out_.logsum, "logsum", DType::f64, per_row);
    check(out_.target_logit, "target_logit", DType::f64, per_row);
    check(out_.grad_x, "grad_x", dtype, as_x);
    check(out_.grad_w, "grad_w", dtype, as_w);
    check(out_.grad_bias, "grad_bias", dtype, as_bias);
    if (out_.grad_bias.data != nullptr && !layer_.bias)
      throw InvalidArgument("grad_bias is given for a layer without bias");
  }

  void sum(LinearRows<T>& of_rows) {
    scores_.sweep(rows_, [&](const Tile<T>& tile, const Matrix&) { of_rows.add(tile); });
    of_rows.finish();
  }

  void set_gradient(std::int64_t row, const RowLoss& loss) {
    gradients_[at(row)] = gradient_of(weights_[at(row)], loss);
  }

  void recompute(LinearGradients<T>& gradients) {
    scores_.sweep(rows_, [&](const Tile<T>& tile, const Matrix& x) { gradients.add(tile, x); });
  }

  // Whether a chunk that stays is row-major: then products are as fast, or faster where inputs are
  // few, and rows need not be transposed, unless they need something else.
  bool by_rows() const {
    return scores_.finish().is_nothing() && scores_.depth() <= kMostRowInputs;
  }
  std::int64_t chunk_stride(std::int64_t rows) const {
    return tile_stride<T>(by_rows() ? scores_.classes() : rows);
  }
  std::int64_t chunk_elements(std::int64_t rows) const {
    return chunk_stride(rows) * (by_rows() ? rows : scores_.classes());
  }

  // Rows whose scores fit.
  std::int64_t chunk_rows() const {
    const std::int64_t fitting = options_.tile_bytes / static_cast<std::int64_t>(sizeof(T));
    std::int64_t rows = std::min(fitting / std::max<std::int64_t>(scores_.classes(), 1), kTileRows);
    if (rows > kStripRows<T>) rows = rows / kStripRows<T> * kStripRows<T>;
    while (rows > 0 && chunk_elements(rows) > fitting) rows -= std::min(rows, kStripRows<T>);
    return rows;
  }

  // Chunks of the same size but for the last, not more of them than there must be.
  std::int64_t even_share(std::int64_t most) const {
    const std::int64_t chunks = (count() + most - 1) / most;
    const std::int64_t share = (count() + chunks - 1) / chunks;
    constexpr std::int64_t together = 4;  // what kernels of products take at once
    return std::min(most, (share + together - 1) / together * together);
  }

  void add_chunk(LinearRows<T>& of_rows, LinearGradients<T>& gradients, std::int64_t first,
                 std::int64_t rows) {
    const Tile<T> whole{scores_.memory().tile.reserve(chunk_elements(rows)),
                        by_rows(),
                        chunk_stride(rows),
                        0,
                        scores_.classes(),
                        first,
                        rows};
    const std::int64_t step = scores_.classes_at_once(rows);
    for (std::int64_t c = 0; c < scores_.classes(); c += step) {
      const Tile<T> tile = whole.part(c, std::min(step, scores_.classes() - c));
      const Matrix x = scores_.x_rows(rows_, first, rows);
      const Matrix w = scores_.w_rows(c, tile.classes);
      if (tile.by_rows)
        scores_.multiply(x, transposed(w), transposed(tile.matrix()));
      else
        scores_.multiply(w, transposed(x), tile.matrix());
      of_rows.add(tile);
    }
    of_rows.finish(first, rows, [&](auto visit) { visit(whole); });
    for (std::int64_t r = first; r < first + rows; ++r) set_gradient(r, of_rows.loss(r));
    gradients.add(whole, scores_.x_rows(rows_, first, rows));
  }

  void write_results(const LinearRows<T>& of_rows) const {
    const baseline::DefaultFloatEnvironment environment;
    std::vector<double> losses(at(scores_.rows()));
    for (std::int64_t r = 0; r < scores_.rows(); ++r) {
      set(out_.max, r, -kInfinity);
      set(out_.logsum, r, 0.0);
      set(out_.target_logit, r, 0.0);
    }
    for (std::int64_t r = 0; r < count(); ++r) {
      const RowLoss& row = of_rows.loss(r);
      const std::int64_t number = rows_[at(r)];
      losses[at(number)] = loss_of(weights_[at(r)], row);
      set(out_.max, number, row.max);
      set(out_.logsum, number, row.max == -kInfinity ? -kInfinity : row.log_sum);
      set(out_.target_logit, number, of_rows.target_score(r));
    }
    if (out_.loss.data != nullptr) put_losses(out_.loss, losses, options_.loss.reduction, divisor_);
  }
  static void set(const View& view, std::int64_t row, double value) {
    if (view.data != nullptr) static_cast<double*>(view.data)[row] = value;
  }

  const LinearLayer& layer_;
  const LinearCrossEntropyOutputs& out_;
  const LinearCrossEntropyOptions& options_;
  LinearScores<T> scores_;
  Vocabulary vocabulary_;
  std::vector<double> class_weights_;
  double divisor_ = 1.0;
  RowSet rows_;
  typename LinearRows<T>::Terms terms_;
  std::vector<LossWeights> weights_;
  std::vector<LossGradient> gradients_;
};

}  // namespace

template <class T>
void linear_loss(const LinearLayer& layer, const ConstView& targets,
                 const LinearCrossEntropyOutputs& out, const LinearCrossEntropyOptions& options,
                 const TargetScores<T>& given) {
  LinearLoss<T> loss(layer, targets, out, options, given);
  if (options.vocab_size && (out.loss.data != nullptr || loss.with_gradients()))
    throw InvalidArgument(
        "a shard of the vocabulary has neither loss nor gradients; see merge_shards");
  loss.forward();
}

template <class T>
void linear_loss_backward(const LinearLayer& layer, const ConstView& targets, const ConstView& max,
                          const ConstView& logsum, const LinearCrossEntropyOutputs& out,
                          const LinearCrossEntropyOptions& options, const TargetScores<T>& given) {
  LinearLoss<T>(layer, targets, out, options, given).backward(max, logsum);
}

template void linear_loss(const LinearLayer&, const ConstView&, const LinearCrossEntropyOutputs&,
                          const LinearCrossEntropyOptions&, const TargetScores<float>&);
template void linear_loss(const LinearLayer&, const ConstView&, const LinearCrossEntropyOutputs&,
                          const LinearCrossEntropyOptions&, const TargetScores<double>&);
template void linear_loss_backward(const LinearLayer&, const ConstView&, const ConstView&,
                                   const ConstView&, const LinearCrossEntropyOutputs&,
                                   const LinearCrossEntropyOptions&, const TargetScores<float>&);
template void linear_loss_backward(const LinearLayer&, const ConstView&, const ConstView&,
                                   const ConstView&, const LinearCrossEntropyOutputs&,
                                   const LinearCrossEntropyOptions&, const TargetScores<double>&);

void linear_cross_entropy(const LinearLayer& layer, const ConstView& targets,
                          const LinearCrossEntropyOutputs& out,
                          const LinearCrossEntropyOptions& options) {
  check_layer(layer);
  with_arithmetic(layer, [&]<class T>() { linear_loss<T>(layer, targets, out, options); });
}

void linear_cross_entropy_backward(const LinearLayer& layer, const ConstView& targets,
                                   const ConstView& max, const ConstView& logsum,
                                   const LinearCrossEntropyOutputs& out,
                                   const LinearCrossEntropyOptions& options) {
  check_layer(layer);
  with_arithmetic(layer, [&]<class T>() {
    linear_loss_backward<T>(layer, targets, max, logsum, out, options);
  });
}

}  // namespace fastsoftmax
