#include "fastsoftmax/samplers.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "samplers_draw.h"

namespace fastsoftmax {
namespace {

constexpr std::size_t kBatch = 512;  // draws at a time

void check_lengths(std::size_t ids, std::size_t out) {
  if (ids != out)
    throw InvalidArgument("there are " + std::to_string(ids) + " ids, but " + std::to_string(out) +
                          " places for results");
}

// log P of the header, of a class whose p t has this logarithm.
double log_arrived(double t, double log_pt) {
  constexpr double certain = 6.0;  // e^-(e^6) is far below what a double near 1 can show
  return std::isinf(t) || log_pt > certain ? 0.0
                                           : portable::log1mexp(portable::exp(log_pt), log_pt);
}

// More than half of all: the first places of a shuffle.
void shuffle(std::span<std::int64_t> ids, std::int64_t classes, const DrawOptions& options) {
  const DrawStream random(options, Purpose::choice);
  std::vector<std::int64_t> all(static_cast<std::size_t>(classes));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  random.for_each(0, std::ssize(ids), [&](std::int64_t i, std::uint64_t bits) {
    const auto at = static_cast<std::size_t>(i);
    std::swap(all[at], all[at + static_cast<std::size_t>(below(bits, classes - i))]);
    ids[at] = all[at];
  });
}

}  // namespace

Sampler::Sampler(std::int64_t classes, std::int64_t possible)
    : classes_(classes), possible_(possible) {
  check_class_count(classes);
}

SampleTimes Sampler::sample(std::span<std::int64_t> ids, std::span<double> log_expected_count,
                            const DrawOptions& options) const {
  check_lengths(ids.size(), log_expected_count.size());
  const baseline::DefaultFloatEnvironment environment;
  const std::int64_t n = std::ssize(ids);
  check_position(options.position);
  if (options.unique && n > possible_)
    throw InvalidArgument("n is " + std::to_string(n) + ", but only " + std::to_string(possible_) +
                          " classes can be drawn without replacement");
  SampleTimes times;
  times.size = n;
  times.unique = options.unique;
  if (n == 0) return times;
  if (!options.unique) {
    draw(options, 0, ids, log_expected_count);
  } else if (is_uniform() && n > classes_ / 2) {
    shuffle(ids, classes_, options);
    std::ranges::fill(log_expected_count, log_prob_of(0));
  } else {
    draw_distinct(ids, log_expected_count, options, times);
  }
  expect(times, true, log_expected_count);
  return times;
}

void Sampler::draw_distinct(std::span<std::int64_t> ids, std::span<double> log_probs,
                            const DrawOptions& options, SampleTimes& times) const {
  const std::int64_t n = std::ssize(ids);
  const bool one_more = !is_uniform() && n < possible_;
  const std::int64_t wanted = one_more ? n + 1 : n;
  // Beyond, all classes that are left are looked at in as much time.
  const std::int64_t most = 4 * wanted + possible_ / 4;
  DistinctClasses seen(wanted, classes_);
  std::array<std::int64_t, kBatch> batch;
  std::array<double, kBatch> batch_log_probs;
  std::int64_t drawn = 0;
  std::int64_t found = 0;
  std::int64_t last = 0;  // draws until the n-th class
  while (found < wanted && drawn < most) {
    const auto count = std::min(kBatch, static_cast<std::size_t>(2 * (wanted - found)));
    draw(options, drawn, std::span(batch).first(count), std::span(batch_log_probs).first(count));
    for (std::size_t i = 0; i < count && found < wanted; ++i) {
      ++drawn;
      if (!seen.insert(batch[i])) continue;
      if (found < n) {
        ids[static_cast<std::size_t>(found)] = batch[i];
        log_probs[static_cast<std::size_t>(found)] = batch_log_probs[i];
        last = drawn;
      }
      ++found;
    }
  }
  if (found >= n) times.last = is_uniform() ? 0.0 : elapsed(options, 0, last);
  times.next = std::numeric_limits<double>::infinity();
  if (found == n + 1) times.next = times.last + elapsed(options, last, drawn);
  if (found == wanted) return;

  // The process has no memory: what has not arrived does so after exponential times from now on.
  const double now =
      found < n ? elapsed(options, 0, drawn) : times.last + elapsed(options, last, drawn);
  struct Arrival {
    double time;
    std::int64_t id;
    double log_prob;

    auto operator<=>(const Arrival&) const = default;
  };
  const DrawStream random(options, Purpose::rest);
  std::vector<Arrival> arrivals;
  for (std::int64_t id = 0; id < classes_; ++id) {
    const double log_prob = log_prob_of(id);
    if (std::isinf(log_prob) || seen.contains(id)) continue;
    const double wait = -portable::log(open_unit(random.at(id)));
    arrivals.push_back({now + wait * portable::exp(-log_prob), id, log_prob});
  }
  const auto needed = arrivals.begin() + (wanted - found);
  std::nth_element(arrivals.begin(), needed - 1, arrivals.end());
  std::sort(arrivals.begin(), needed);
  for (auto at = arrivals.begin(); at != needed; ++at, ++found) {
    if (found < n) {
      ids[static_cast<std::size_t>(found)] = at->id;
      log_probs[static_cast<std::size_t>(found)] = at->log_prob;
    }
    (found < n ? times.last : times.next) = at->time;
  }
}

void Sampler::expect(const SampleTimes& times, bool drawn, std::span<double> log_probs) const {
  const bool arrived = times.unique && !is_uniform();
  const double rate = !arrived ? static_cast<double>(times.size) : drawn ? times.next : times.last;
  const double log_rate = portable::log(rate);
  for (double& log : log_probs) {
    if (times.size == 0 || std::isinf(log))
      log = -std::numeric_limits<double>::infinity();
    else
      log = arrived ? log_arrived(rate, log_rate + log) : log_rate + log;
  }
}

void Sampler::log_expected_count(std::span<const std::int64_t> ids, const SampleTimes& times,
                                 bool drawn, std::span<double> out) const {
  const baseline::DefaultFloatEnvironment environment;
  log_prob(ids, out);
  expect(times, drawn, out);
}

void Sampler::log_prob(std::span<const std::int64_t> ids, std::span<double> out) const {
  check_lengths(ids.size(), out.size());
  check_ids(ids);
  const baseline::DefaultFloatEnvironment environment;
  for (std::size_t i = 0; i < ids.size(); ++i) out[i] = log_prob_of(ids[i]);
}

void Sampler::check_ids(std::span<const std::int64_t> ids) const {
  for (const std::int64_t id : ids) {
    if (id < 0 || id >= classes_)
      throw InvalidIndex("id " + std::to_string(id) + " is out of range for " +
                         std::to_string(classes_) + " classes");
  }
}

UniformSampler::UniformSampler(std::int64_t classes) : Sampler(classes, classes) {
  const baseline::DefaultFloatEnvironment environment;
  log_prob_ = -portable::log(static_cast<double>(classes));
}

void UniformSampler::draw(const DrawOptions& options, std::int64_t first,
                          std::span<std::int64_t> ids, std::span<double> log_probs) const {
  const DrawStream random(options, Purpose::choice);
  random.for_each(first, std::ssize(ids), [&](std::int64_t i, std::uint64_t bits) {
    ids[static_cast<std::size_t>(i)] = below(bits, classes());
  });
  std::ranges::fill(log_probs, log_prob_);
}

double UniformSampler::log_prob_of(std::int64_t) const { return log_prob_; }

LogUniformSampler::LogUniformSampler(std::int64_t classes) : Sampler(classes, classes) {
  const baseline::DefaultFloatEnvironment environment;
  log_range_ = portable::log(static_cast<double>(classes) + 1.0);
  log_log_range_ = portable::log(log_range_);
}

void LogUniformSampler::draw(const DrawOptions& options, std::int64_t first,
                             std::span<std::int64_t> ids, std::span<double> log_probs) const {
  const DrawStream random(options, Purpose::choice);
  random.for_each(first, std::ssize(ids), [&](std::int64_t i, std::uint64_t bits) {
    const auto rank = static_cast<std::int64_t>(portable::exp(unit(bits) * log_range_));
    ids[static_cast<std::size_t>(i)] = std::clamp<std::int64_t>(rank - 1, 0, classes() - 1);
  });
  for (std::size_t i = 0; i < ids.size(); ++i) log_probs[i] = log_prob_of(ids[i]);
}

double LogUniformSampler::log_prob_of(std::int64_t id) const {
  // log((i + 2) / (i + 1)) without cancellation.
  const double step = id == 0 ? portable::log(2.0)
                              : portable::twice_artanh(1.0 / (2.0 * static_cast<double>(id) + 3.0));
  return portable::log(step) - log_log_range_;
}

}  // namespace fastsoftmax
