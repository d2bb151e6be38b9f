// Samplers: the same bits everywhere, by checksums that are kept here; no class that cannot be
// drawn; arguments; the functions that their results rest on. Distributions are tested from Python.
#include "fastsoftmax/samplers.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <span>
#include <vector>

#include "float_environment.h"
#include "portable_math.h"

namespace fs = fastsoftmax;

namespace {

struct Drawn {
  std::vector<std::int64_t> ids;
  std::vector<double> expected;
  fs::SampleTimes times;
};

Drawn drawn_from(const fs::Sampler& sampler, std::size_t n, const fs::DrawOptions& options) {
  Drawn drawn{std::vector<std::int64_t>(n), std::vector<double>(n), {}};
  drawn.times = sampler.sample(drawn.ids, drawn.expected, options);
  return drawn;
}

// FNV-1a over the bits of what was drawn.
std::uint64_t checksum(const Drawn& drawn) {
  std::uint64_t sum = 0xcbf29ce484222325;
  const auto add = [&](std::uint64_t bits) {
    for (int byte = 0; byte < 8; ++byte, bits >>= 8) sum = (sum ^ (bits & 0xff)) * 0x100000001b3;
  };
  for (const std::int64_t id : drawn.ids) add(static_cast<std::uint64_t>(id));
  for (const double log : drawn.expected) add(std::bit_cast<std::uint64_t>(log));
  return sum;
}

std::vector<std::int64_t> zipf_counts(std::int64_t classes) {
  std::vector<std::int64_t> counts;
  for (std::int64_t i = 0; i < classes; ++i) counts.push_back(i % 7 == 3 ? 0 : 1000000 / (i + 1));
  return counts;
}

// In units in the last place of the exact result.
double error(double result, long double exact) {
  int exponent = 0;
  std::frexp(static_cast<double>(exact), &exponent);
  return std::abs(static_cast<double>(static_cast<long double>(result) - exact)) /
         std::ldexp(1.0, exponent - 53);
}

}  // namespace

TEST_CASE("logarithms and exponentials") {
  if (std::numeric_limits<long double>::digits < 64) return;  // nothing to compare with
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> unit(0.0, 1.0);
  double log = 0.0;
  double exp = 0.0;
  double log1mexp = 0.0;
  for (int i = 0; i < 300000; ++i) {
    const double x = std::exp((unit(random) - 0.5) * (i % 3 == 0 ? 1400.0 : 2.0));
    log = std::max(log, error(fs::portable::log(x), std::log(static_cast<long double>(x))));
    const double y = (unit(random) - 0.5) * (i % 2 == 0 ? 1400.0 : 2.0);
    exp = std::max(exp, error(fs::portable::exp(y), std::exp(static_cast<long double>(y))));
    const double z = std::exp((unit(random) - 0.8) * 20.0);
    const auto exact = static_cast<long double>(z);
    const auto log_z = static_cast<double>(std::log(exact));
    log1mexp = std::max(
        log1mexp, error(fs::portable::log1mexp(z, log_z),
                        z < 1.0 ? std::log(-std::expm1(-exact)) : std::log1p(-std::exp(-exact))));
  }
  CHECK(log <= 2.0);
  CHECK(exp <= 1.0);
  CHECK(log1mexp <= 4.0);
  CHECK(fs::portable::log(1.0) == 0.0);
  CHECK(fs::portable::exp(0.0) == 1.0);
  CHECK(fs::portable::exp(-1000.0) == 0.0);
}

TEST_CASE("the same bits everywhere") {
  const fs::UniformSampler uniform(100000);
  const fs::LogUniformSampler log_uniform(100000);
  const fs::UnigramSampler unigram(zipf_counts(100000));
  const fs::Sampler* const samplers[] = {&uniform, &log_uniform, &unigram};
  constexpr std::uint64_t expected[][2] = {{0xd4ef7e5390c5d7f2u, 0x55d96f8b2cf36873u},
                                           {0x257bb6e57a53612bu, 0x88814f9415f5f618u},
                                           {0x8524172751c6aac1u, 0xe93a0890889f6fadu}};
  for (std::size_t s = 0; s < 3; ++s) {
    for (const bool unique : {false, true}) {
      CAPTURE(s);
      CAPTURE(unique);
      CHECK(checksum(drawn_from(*samplers[s], 5000, {unique, 11, 12})) ==
            expected[s][unique ? 1 : 0]);
    }
  }
  // All ways of drawing without replacement: a shuffle, and looking at all classes.
  CHECK(checksum(drawn_from(uniform, 99999, {true, 1, 2})) == 0xbfa4694a9a7141d7u);
  CHECK(checksum(drawn_from(fs::LogUniformSampler(1000), 999, {true, 1, 2})) ==
        0x62639cb89b2728b8u);
}

TEST_CASE("the host's floating-point environment does not matter to samplers") {
  const std::vector<std::int64_t> counts = zipf_counts(3000);
  tests::check_in_each_environment([&] {
    const fs::UniformSampler uniform(3000);
    const fs::LogUniformSampler log_uniform(3000);
    const fs::UnigramSampler unigram(counts, 0.6);
    std::vector<std::uint64_t> sums;
    for (const fs::Sampler* const sampler :
         {static_cast<const fs::Sampler*>(&uniform), static_cast<const fs::Sampler*>(&log_uniform),
          static_cast<const fs::Sampler*>(&unigram)}) {
      for (const std::size_t n : {500, 2500}) {  // some, and all classes that there are
        for (const bool unique : {false, true}) {
          Drawn drawn = drawn_from(*sampler, n, {unique, 3, 4});
          sums.push_back(checksum(drawn));
          sampler->log_expected_count(drawn.ids, drawn.times, false, drawn.expected);
          sums.push_back(checksum(drawn));
          sampler->log_prob(drawn.ids, drawn.expected);
          sums.push_back(checksum(drawn));
        }
      }
    }
    return sums;
  });
}

TEST_CASE("what has no probability is never drawn") {
  std::mt19937_64 random(2);
  for (std::int64_t classes = 1; classes < 200; ++classes) {
    std::vector<std::int64_t> counts(static_cast<std::size_t>(classes));
    std::set<std::int64_t> possible;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      counts[i] = random() % 3 == 0 ? static_cast<std::int64_t>(random() % 5) : 0;
      if (i + 1 == counts.size() && possible.empty()) counts[i] = 1;
      if (counts[i] > 0) possible.insert(static_cast<std::int64_t>(i));
    }
    const fs::UnigramSampler sampler(counts, 1.0);
    const Drawn some = drawn_from(sampler, 500, {false, 3, static_cast<std::uint64_t>(classes)});
    for (const std::int64_t id : some.ids) CHECK(possible.contains(id));
    const Drawn all = drawn_from(sampler, possible.size(), {true, 3, 0});
    CHECK(std::set(all.ids.begin(), all.ids.end()) == possible);
    for (const double log : all.expected) CHECK(log == 0.0);
  }
}

TEST_CASE("the sampler of given probabilities") {
  const std::int64_t everyone[] = {1, 2, 7, 1000, 100000};
  for (const std::int64_t classes : everyone) {
    const fs::UnigramSampler sampler(zipf_counts(classes), 0.6);
    std::vector<std::int64_t> ids(static_cast<std::size_t>(classes));
    std::iota(ids.begin(), ids.end(), std::int64_t{0});
    std::vector<double> logs(ids.size());
    sampler.log_prob(ids, logs);
    const auto same = fs::UnigramSampler::from_log_probs(logs);
    CHECK(same.classes() == classes);
    for (const bool unique : {false, true}) {
      const std::size_t n = unique ? (ids.size() + 1) / 2 : 5000;
      CHECK(checksum(drawn_from(same, n, {unique, 1, 2})) ==
            checksum(drawn_from(sampler, n, {unique, 1, 2})));
    }
  }
  const double never = -std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const std::vector<double>& wrong : {std::vector<double>{},
                                           {0.0, 0.0},
                                           {never, never},
                                           {nan, 0.0},
                                           {0.0, nan},
                                           {1e-3, -7.0},
                                           {-0.7, -0.7},
                                           {std::log(0.5), std::log(0.5) + 1e-8}})
    CHECK_THROWS_AS(fs::UnigramSampler::from_log_probs(wrong), fs::InvalidArgument);
}

TEST_CASE("expectations for other classes") {
  const fs::UnigramSampler sampler(zipf_counts(1000));
  const Drawn drawn = drawn_from(sampler, 50, {true, 5, 0});
  CHECK(drawn.times.last < drawn.times.next);
  std::vector<double> again(50);
  sampler.log_expected_count(drawn.ids, drawn.times, true, again);
  CHECK(again == drawn.expected);
  sampler.log_expected_count(drawn.ids, drawn.times, false, again);
  for (std::size_t i = 0; i < 50; ++i) CHECK(again[i] < drawn.expected[i]);
  std::vector<double> never(1);
  const std::vector<std::int64_t> impossible = {3};
  sampler.log_expected_count(impossible, drawn.times, false, never);
  CHECK(never[0] == -std::numeric_limits<double>::infinity());
}

TEST_CASE("arguments of samplers") {
  const fs::UniformSampler sampler(10);
  std::vector<std::int64_t> ids(11);
  std::vector<double> logs(11);
  CHECK_THROWS_AS(sampler.sample(ids, logs, {true, 0, 0}), fs::InvalidArgument);
  CHECK_THROWS_AS(sampler.sample(ids, std::span(logs).first(3)), fs::InvalidArgument);
  CHECK_THROWS_AS(sampler.sample(ids, logs, {false, 0, std::uint64_t{1} << 32}),
                  fs::InvalidArgument);
  ids.assign(11, 10);
  CHECK_THROWS_AS(sampler.log_prob(ids, logs), fs::InvalidIndex);
  CHECK_THROWS_AS(fs::UniformSampler(0), fs::InvalidArgument);
  CHECK_THROWS_AS(fs::LogUniformSampler(std::int64_t{1} << 32), fs::InvalidArgument);
  const std::vector<std::int64_t> counts = {1, 2};
  const std::vector<std::int64_t> reserved = {2};
  CHECK_THROWS_AS(fs::UnigramSampler(counts, 0.75, reserved), fs::InvalidIndex);
  CHECK_THROWS_AS(fs::UnigramSampler(counts, 9.0), fs::InvalidArgument);
  CHECK_THROWS_AS(fs::UnigramSampler(std::vector<std::int64_t>{}), fs::InvalidArgument);
  CHECK_THROWS_AS(fs::UnigramSampler(std::vector<std::int64_t>{0}), fs::InvalidArgument);
  CHECK_THROWS_AS(fs::UnigramSampler(std::vector<std::int64_t>{2, -1}), fs::InvalidArgument);
}
