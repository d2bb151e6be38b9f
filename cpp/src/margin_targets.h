// Targets under a margin: their scores, and their part of the gradients, by the angle between a row
// of x and its target's row of w. All in double; see partial_fc.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "call_threads.h"
#include "fastsoftmax/partial_fc.hpp"
#include "linear_rows.h"
#include "row_source.h"
#include "tasks.h"
#include "unit_rows.h"

namespace fastsoftmax {

class MarginFunction {
 public:
  MarginFunction(Margin kind, double m)
      : kind_(kind), m_(m), cos_m_(std::cos(m)), sin_m_(std::sin(m)) {}

  struct Value {
    double phi, slope;  // phi'(cos)
  };
  Value at(double cosine, double sine) const {
    if (kind_ == Margin::none) return {cosine, 1.0};
    if (kind_ == Margin::cosface) return {cosine - m_, 1.0};
    if (cosine <= -cos_m_) return {cosine - m_ * sin_m_, 1.0};
    constexpr double least_sine = 1e-12;  // below, its direction is that of rounding errors
    const double cotangent = sine <= least_sine ? 0.0 : cosine / sine;
    return {cosine * cos_m_ - sine * sin_m_, cos_m_ + cotangent * sin_m_};
  }

 private:
  Margin kind_;
  double m_;
  double cos_m_;
  double sin_m_;
};

template <class T>
class MarginTargets {
 public:
  // `ids`: of the classes; `places`: for each row of x where its target is in ids, or none of
  // these. Both must last.
  MarginTargets(const LinearLayer& layer, const std::vector<std::int64_t>& ids,
                const std::vector<std::int64_t>& places, const PartialFCOptions& options,
                int threads)
      : x_(layer.x, "x"),
        w_(layer.w, "W"),
        ids_(ids),
        places_(places),
        margin_(options.margin, options.margin_size),
        scale_(options.scale),
        scores_(places.size()),
        derivatives_(places.size()) {
    for (std::int64_t r = 0; r < std::ssize(places); ++r) {
      if (is_class(place(r), std::ssize(ids))) order_.push_back(r);
    }
    std::ranges::stable_sort(order_, {}, [this](std::int64_t r) { return place(r); });
    threads_ = threads_for(std::ssize(order_) * depth(), threads);
    unit_vectors_.resize(static_cast<std::size_t>(2 * depth() * threads_));
    for_targets([this](std::int64_t r, const Angle& angle) {
      const auto value = margin_.at(angle.cosine, angle.sine);
      scores_[at(r)] = static_cast<T>(scale_ * value.phi);
    });
  }

  TargetScores<T> given(bool with_gradient) {
    return {scores_.data(), with_gradient ? derivatives_.data() : nullptr};
  }

  // Adds what derivatives add to gradients of rows of x, and of w in ids; either may be null.
  void add_gradients(T* grad_x, T* grad_w) {
    for_targets([&](std::int64_t r, const Angle& angle) {
      const double factor = static_cast<double>(derivatives_[at(r)]) * scale_ *
                            margin_.at(angle.cosine, angle.sine).slope;
      const auto add = [&](T* to, const double* of, const double* other, double length) {
        if (to == nullptr || length == 0.0) return;
        for (std::int64_t k = 0; k < depth(); ++k)
          to[k] += static_cast<T>(factor * (other[k] - angle.cosine * of[k]) / length);
      };
      add(grad_x == nullptr ? nullptr : grad_x + r * depth(), angle.x, angle.w, angle.x_length);
      add(grad_w == nullptr ? nullptr : grad_w + place(r) * depth(), angle.w, angle.x,
          angle.w_length);
    });
  }

 private:
  struct Angle {
    const double* x;  // of length 1, or 0
    const double* w;
    double x_length, w_length;
    double cosine, sine;
  };

  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
  std::int64_t place(std::int64_t r) const { return places_[at(r)]; }
  std::int64_t depth() const { return x_.columns(); }

  double make_unit(double* vector) const {
    const double length = length_of(vector, depth());
    if (length != 0.0) {
      for (std::int64_t k = 0; k < depth(); ++k) vector[k] /= length;
    }
    return length;
  }
  Angle angle_of(std::int64_t row, double* x) const {
    double* const w = x + depth();
    x_.copy(row, x);
    w_.copy(ids_[at(place(row))], w);
    Angle angle{x, w, make_unit(x), make_unit(w), 0.0, 1.0};
    if (angle.x_length == 0.0 || angle.w_length == 0.0) return angle;
    angle.cosine = dot(x, w, depth());
    double squares = 0.0;
    for (std::int64_t k = 0; k < depth(); ++k) {
      const double across = w[k] - angle.cosine * x[k];
      squares += across * across;
    }
    angle.sine = std::sqrt(squares);
    return angle;
  }

  // body(row, angle); rows of one target one after the other, in their order.
  template <class Body>
  void for_targets(Body body) {
    constexpr std::int64_t together = 16;
    const std::int64_t count = std::ssize(order_);
    const auto begins = [&](std::int64_t i) {
      return i == 0 || i >= count || place(order_[at(i)]) != place(order_[at(i - 1)]);
    };
    for_tasks(divide_up(count, together), threads_, [&](std::int64_t task, int worker) {
      double* const vectors = unit_vectors_.data() + 2 * depth() * worker;
      std::int64_t i = task * together;
      const std::int64_t end = std::min(i + together, count);
      while (i < end && !begins(i)) ++i;
      if (i == end) return;
      do {
        body(order_[at(i)], angle_of(order_[at(i)], vectors));
        ++i;
      } while (i < end || !begins(i));
    });
  }

  RowSource<double> x_;
  RowSource<double> w_;
  const std::vector<std::int64_t>& ids_;
  const std::vector<std::int64_t>& places_;
  MarginFunction margin_;
  double scale_;
  std::vector<T> scores_;
  std::vector<T> derivatives_;
  std::vector<std::int64_t> order_;  // rows whose targets are in ids, by target
  int threads_ = 1;
  std::vector<double> unit_vectors_;  // two for each worker
};

}  // namespace fastsoftmax
