// Samplers of classes for losses that look at a few of many: which classes, and how often each was
// to be expected, by which such a loss corrects its estimate.
//
// With replacement n classes are drawn independently, and class i is expected n p_i times.
//
// Without replacement classes are drawn until n are distinct, in the order in which they appear:
// successive sampling, the distribution of Gumbel top-k. Let draws arrive as a Poisson process of
// rate 1. Then the first arrivals T_i of the classes are independent, T_i ~ Exp(p_i), and the
// sample are the n earliest. Given the arrivals of all other classes, class i is in the sample if
// it arrives before the n-th of those, at time t:
//
//   P(i in sample | T_j for all j != i) = 1 - exp(-p_i t)
//
// For i in the sample t is the (n+1)-th arrival of all, for others the n-th. Dividing by this
// makes sums over the sample unbiased, for any f: E[sum over the sample of f_i / P_i] = sum of f_i.
// (1 - (1 - p_i)^draws, which is widely used, is biased: draws depend on what was drawn.) Under
// uniform probabilities P is known without t: n / V.
//
// Randomness: Philox4x32-10 with the key `seed` and the counter (draw, position). Samples and
// expectations depend on the sampler's arguments, n, seed and position alone, to the bit.
//
// Sources: Walker (1977) and Vose (1991), alias tables; Yellott (1977); Duffield, Lund and Thorup
// (2007), priority sampling; Kool et al., Stochastic Beams and Where to Find Them (2019).
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "fastsoftmax/types.hpp"

namespace fastsoftmax {

struct DrawOptions {
  bool unique = false;  // without replacement
  std::uint64_t seed = 0;
  std::uint64_t position = 0;  // such as the training step; below 2^32
};

// What expectations of a sample follow from.
struct SampleTimes {
  std::int64_t size = 0;
  bool unique = false;
  double last = 0.0;  // unique: when the n-th class arrived
  double next = 0.0;  // when the one behind it did; infinite where there is none
};

// Immutable: one object may serve several threads.
class Sampler {
 public:
  virtual ~Sampler() = default;
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  std::int64_t classes() const noexcept { return classes_; }

  // Fills `ids`, in the order of arrival, and log_expected_count of each, both of length n. Without
  // replacement time and memory are O(n), unless the classes that are left become so improbable
  // that looking at all of them is faster.
  // Throws InvalidArgument where lengths differ, or `unique` asks for more classes than have a
  // positive probability; std::bad_alloc.
  SampleTimes sample(std::span<std::int64_t> ids, std::span<double> log_expected_count,
                     const DrawOptions& options = {}) const;

  // The logarithm of how often each class is to be expected in a sample: of n p_i, or without
  // replacement of P above. `drawn` says that all of `ids` are in that sample, or that none is.
  // Throws InvalidArgument where lengths differ, InvalidIndex for an id outside [0, classes).
  void log_expected_count(std::span<const std::int64_t> ids, const SampleTimes& times, bool drawn,
                          std::span<double> out) const;

  // Logarithms of probabilities, -inf for classes that are never drawn. Throws likewise.
  void log_prob(std::span<const std::int64_t> ids, std::span<double> out) const;

 protected:
  Sampler(std::int64_t classes, std::int64_t possible);
  std::int64_t possible() const noexcept { return possible_; }

 private:
  // Draws number first, first + 1, ... with replacement, and logarithms of their probabilities.
  virtual void draw(const DrawOptions& options, std::int64_t first, std::span<std::int64_t> ids,
                    std::span<double> log_probs) const = 0;
  virtual double log_prob_of(std::int64_t id) const = 0;
  virtual bool is_uniform() const { return false; }

  void draw_distinct(std::span<std::int64_t> ids, std::span<double> log_probs,
                     const DrawOptions& options, SampleTimes& times) const;
  void expect(const SampleTimes& times, bool drawn, std::span<double> log_probs) const;
  void check_ids(std::span<const std::int64_t> ids) const;

  std::int64_t classes_;
  std::int64_t possible_;  // classes of positive probability
};

// p_i = 1 / V.
class UniformSampler final : public Sampler {
 public:
  // Throws InvalidArgument unless `classes` is in [1, 2^32).
  explicit UniformSampler(std::int64_t classes);

 private:
  void draw(const DrawOptions& options, std::int64_t first, std::span<std::int64_t> ids,
            std::span<double> log_probs) const override;
  double log_prob_of(std::int64_t id) const override;
  bool is_uniform() const override { return true; }

  double log_prob_;
};

// p_i = log((i + 2) / (i + 1)) / log(V + 1): about Zipf's law for classes in descending order of
// frequency. No memory per class.
class LogUniformSampler final : public Sampler {
 public:
  // Throws InvalidArgument unless `classes` is in [1, 2^32).
  explicit LogUniformSampler(std::int64_t classes);

 private:
  void draw(const DrawOptions& options, std::int64_t first, std::span<std::int64_t> ids,
            std::span<double> log_probs) const override;
  double log_prob_of(std::int64_t id) const override;

  double log_range_;      // log(V + 1)
  double log_log_range_;  // its logarithm
};

// p_i proportional to counts[i]^power: 0 where the count is 0, whatever the power, and for reserved
// classes. An alias table, 32 bytes per class; a draw takes constant time.
class UnigramSampler final : public Sampler {
 public:
  // Throws InvalidArgument unless there is at least one count and fewer than 2^32, none negative,
  // power is in [0, 8] and something is left to draw; InvalidIndex for a reserved id that is none;
  // std::bad_alloc.
  explicit UnigramSampler(std::span<const std::int64_t> counts, double power = 0.75,
                          std::span<const std::int64_t> reserved = {});

  // The sampler of which these are log_prob() of all classes: the same draws, to the bit.
  // Throws InvalidArgument unless they are logarithms of probabilities that add up to 1; and
  // std::bad_alloc.
  static UnigramSampler from_log_probs(std::vector<double> log_probs);

 private:
  // All that a draw needs, so that it takes one access to memory.
  struct Column {
    double keep;  // the part of the column that is the class of its number; the rest is `alias`
    double log_prob;
    double alias_log_prob;
    std::int64_t alias;
  };
  struct Free {
    void operator()(Column* p) const { std::free(p); }
  };

  explicit UnigramSampler(std::vector<double> log_probs);
  void draw(const DrawOptions& options, std::int64_t first, std::span<std::int64_t> ids,
            std::span<double> log_probs) const override;
  double log_prob_of(std::int64_t id) const override;

  void fill_up();

  std::unique_ptr<Column, Free> columns_;  // one for each class
};

}  // namespace fastsoftmax
