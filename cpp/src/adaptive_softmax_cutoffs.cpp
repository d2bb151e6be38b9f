// Where the head and the clusters of an adaptive softmax should end.
//
// With f_i(b) the least cost of the head and i clusters over the first b classes,
//
//   f_i(b) = min over a < b of f_(i-1)(a) + w_i(a, b)
//
// where w_i(a, b), the cost of classes [a, b) as cluster i, is max(least, (mass + constant) *
// length) up to factors and terms that are linear in mass. The product of two measures that add up
// satisfies the quadrangle inequality, which a convex increasing function such as max(least, .)
// preserves; so the best a does not decrease with b, and f_i follows from f_(i-1) by bisection.
//
// Source: Yao, Efficient dynamic programming using quadrangle inequalities (1980).
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "fastsoftmax/adaptive_softmax.hpp"
#include "loss_options.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

class Cutoffs {
 public:
  Cutoffs(const std::vector<double>& counts, std::int64_t inputs, std::int64_t clusters,
          double div_value, const AdaptiveCost& cost)
      : classes_(std::ssize(counts)), cost_(cost), inputs_(static_cast<double>(inputs)) {
    mass_.push_back(0.0);
    for (const double count : counts) mass_.push_back(mass_.back() + count);
    for (double& mass : mass_) mass /= mass_.back();
    for (std::int64_t i = 0; i < clusters; ++i) {
      const double reduced = std::floor(inputs_ / std::pow(div_value, static_cast<double>(i + 1)));
      depths_.push_back(std::max(reduced, 1.0));
    }
  }

  std::vector<std::int64_t> find() {
    const auto clusters = std::ssize(depths_);
    before_.resize(mass_.size());
    for (std::int64_t b = 1; b <= classes_; ++b)
      before_[at(b)] = product(cost_.rows, static_cast<double>(b + clusters), inputs_);
    std::vector<std::vector<std::int64_t>> starts;
    for (cluster_ = 0; cluster_ < clusters; ++cluster_) {
      best_.assign(mass_.size(), 0.0);
      starts_.assign(mass_.size(), 0);
      // The last one ends where the classes do.
      const std::int64_t least = cluster_ + 2;
      const std::int64_t first = cluster_ + 1 < clusters ? least : classes_;
      solve(first, classes_, least - 1, classes_ - 1);
      before_.swap(best_);
      starts.push_back(starts_);
    }
    std::vector<std::int64_t> ends(at(clusters));
    std::int64_t end = classes_;
    for (std::int64_t i = clusters; i-- > 0;) ends[at(i)] = end = starts[at(i)][at(end)];
    return ends;
  }

 private:
  double product(double rows, double classes, double depth) const {
    return cost_.call +
           std::max(cost_.least, (rows + cost_.weights) * classes) * (depth + cost_.score);
  }
  double of_cluster(std::int64_t a, std::int64_t b) const {
    const double rows = cost_.rows * (mass_[at(b)] - mass_[at(a)]);
    const double depth = depths_[at(cluster_)];
    return product(rows, static_cast<double>(b - a), depth) + rows * depth * inputs_;
  }

  // For ends in [first, last], whose starts are in [low, high].
  void solve(std::int64_t first, std::int64_t last, std::int64_t low, std::int64_t high) {
    if (first > last) return;
    const std::int64_t b = first + (last - first) / 2;
    double least = std::numeric_limits<double>::infinity();
    std::int64_t start = low;
    for (std::int64_t a = low; a <= std::min(high, b - 1); ++a) {
      const double cost = before_[at(a)] + of_cluster(a, b);
      if (cost < least) {
        least = cost;
        start = a;
      }
    }
    best_[at(b)] = least;
    starts_[at(b)] = start;
    solve(first, b - 1, low, start);
    solve(b + 1, last, start, high);
  }

  std::int64_t classes_;
  AdaptiveCost cost_;
  double inputs_;
  std::vector<double> mass_;  // of the classes before each, 0 to 1
  std::vector<double> depths_;
  std::int64_t cluster_ = 0;
  std::vector<double> before_, best_;
  std::vector<std::int64_t> starts_;
};

void check_cost(const AdaptiveCost& cost) {
  const auto check = [](double value, const char* name, bool positive) {
    if (!(std::isfinite(value) && (positive ? value > 0.0 : value >= 0.0)))
      throw InvalidArgument(std::string(name) + " must be finite and " +
                            (positive ? "positive" : "not negative") + ", got " +
                            number_text(value));
  };
  check(cost.rows, "rows", true);
  check(cost.call, "call", false);
  check(cost.least, "least", false);
  check(cost.weights, "weights", false);
  check(cost.score, "score", false);
}

}  // namespace

std::vector<std::int64_t> adaptive_cutoffs(const ConstView& counts, std::int64_t inputs,
                                           std::int64_t clusters, double div_value,
                                           const AdaptiveCost& cost) {
  check_view(counts, "counts");
  check_dtype(counts, DType::f64, "counts");
  if (counts.shape.size() != 1)
    throw InvalidArgument("counts must have 1 dimension, not shape " + shape_text(counts.shape));
  const auto values = elements_of<double>(counts, counts.shape, "counts");
  const auto classes = std::ssize(values);
  if (inputs < 1)
    throw InvalidArgument("in_features must be positive, got " + std::to_string(inputs));
  if (clusters < 1)
    throw InvalidArgument("clusters must be positive, got " + std::to_string(clusters));
  if (classes <= clusters)
    throw InvalidArgument("there are counts of " + std::to_string(classes) + " classes for " +
                          std::to_string(clusters) + " clusters and the head");
  if (!(div_value >= 1.0 && std::isfinite(div_value)))
    throw InvalidArgument("div_value must be finite and at least 1, got " + number_text(div_value));
  check_cost(cost);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!(values[i] >= 0.0 && std::isfinite(values[i])))
      throw InvalidArgument("counts must be finite and not negative, got " +
                            number_text(values[i]) + " for class " + std::to_string(i));
    if (i > 0 && values[i] > values[i - 1])
      throw InvalidArgument("counts must descend, but class " + std::to_string(i) +
                            " occurs more often than the one before it");
  }
  if (values.front() == 0.0) throw InvalidArgument("all counts are 0");
  return Cutoffs(values, inputs, clusters, div_value, cost).find();
}

}  // namespace fastsoftmax
