// sample and gumbel_topk: the same choices from every instruction set, layout, batch and number of
// threads; log-probabilities with the bits of log_softmax; selection by mass against a sort.
// Distributions are tested from Python.
#include "fastsoftmax/sampling.hpp"

#include <cmath>
#include <numeric>

#include "float_environment.h"
#include "run.h"
#include "sample_settings.h"

#define FASTSOFTMAX_ISA scalar_kernels
#include "simd/vec_scalar.h"

#include "kernels/mass.h"

using namespace tests;

namespace {

using Indices = std::vector<std::int64_t>;

Indices indices_in(const Array& array) {
  Indices indices(array.bytes.size() / 8);
  std::memcpy(indices.data(), array.bytes.data(), array.bytes.size());
  return indices;
}

struct Drawn {
  Indices indices;
  Bytes values;  // log-probabilities, or those that Gumbel noise has perturbed
};

Drawn run_sample(const Array& x, const fs::SampleOptions& options) {
  const Shape shape = {x.shape[0], 1};
  Array indices = dense(fs::DType::i64, shape);
  Array logprobs = dense(x.dtype, shape);
  const fs::View given = logprobs.out();
  fs::sample(x.view(), 1, indices.out(), options, &given);
  return {indices_in(indices), logprobs.bytes};
}

Drawn run_gumbel(const Array& x, std::int64_t k, const fs::GumbelTopKOptions& options) {
  const Shape shape = {x.shape[0], k};
  Array indices = dense(fs::DType::i64, shape);
  Array values = dense(x.dtype, shape);
  fs::gumbel_topk(x.view(), k, 1, values.out(), indices.out(), options);
  return {indices_in(indices), values.bytes};
}

constexpr auto kSettings = [] {
  std::array<SampleSetting, kSampleSettings.size() + 1> settings{};
  std::copy(kSampleSettings.begin(), kSampleSettings.end(), settings.begin());
  settings.back() = {"max_surprise", [](fs::SampleOptions& o) { o.max_surprise.value = 6.0; }};
  return settings;
}();

constexpr std::size_t kRows = 3;

Bytes rows_of(const Pattern& pattern, fs::DType dtype, std::size_t n) {
  Bytes x;
  for (std::size_t r = 0; r < kRows; ++r) {
    const Bytes row = make_row(pattern, dtype, n, n + r);
    x.insert(x.end(), row.begin(), row.end());
  }
  return x;
}

// Each row by itself, on the portable kernels.
template <class Run>
Drawn one_by_one(fs::DType dtype, const Bytes& x, std::size_t n, fs::RandomSource& random,
                 Run run) {
  const UseIsa scalar(fs::Isa::scalar);
  const std::size_t bytes = n * item_bytes(dtype);
  Drawn all;
  for (std::uint64_t r = 0; r < kRows; ++r) {
    const auto begin = x.begin() + static_cast<std::ptrdiff_t>(r * bytes);
    const Array row = dense(dtype, {1, static_cast<std::int64_t>(n)},
                            Bytes(begin, begin + static_cast<std::ptrdiff_t>(bytes)));
    const Shape shape = {1, 1};
    const Shape strides = {8, 8};
    random.row_ids = {0, fs::ConstView{&r, fs::DType::u64, shape, strides}};
    const Drawn drawn = run(row);
    all.indices.insert(all.indices.end(), drawn.indices.begin(), drawn.indices.end());
    all.values.insert(all.values.end(), drawn.values.begin(), drawn.values.end());
  }
  random.row_ids.reset();
  return all;
}

void check(Tally& tally, fs::DType dtype, const Bytes& x, std::size_t n, const Array& in,
           const std::string& what) {
  for (const SampleSetting& setting : kSettings) {
    fs::SampleOptions options;
    setting.set(options);
    options.random.seed.value = n;
    const auto run = [&](const Array& row) { return run_sample(row, options); };
    const Drawn expected = one_by_one(dtype, x, n, options.random, run);
    const Drawn found = run(in);
    const auto described = [&] { return what + " " + setting.name + " n=" + std::to_string(n); };
    tally.expect(expected.indices == found.indices, described);
    tally.same(dtype, expected.values, found.values, described);
  }
  fs::GumbelTopKOptions options;
  options.random.seed.value = n;
  const auto length = static_cast<std::int64_t>(n);
  for (const std::int64_t k : {std::int64_t{1}, length / 2, length}) {
    if (k < 1 || k > 700) continue;
    const auto run = [&](const Array& row) { return run_gumbel(row, k, options); };
    const Drawn expected = one_by_one(dtype, x, n, options.random, run);
    const Drawn found = run(in);
    const auto described = [&] {
      return what + " gumbel k=" + std::to_string(k) + " n=" + std::to_string(n);
    };
    tally.expect(expected.indices == found.indices, described);
    tally.same(dtype, expected.values, found.values, described);
    for (auto row = found.indices.begin(); row != found.indices.end(); row += k) {
      Indices sorted(row, row + k);
      std::sort(sorted.begin(), sorted.end());
      tally.expect(sorted.front() >= 0 && sorted.back() < length &&
                       std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(),
                   described);
    }
  }
}

}  // namespace

TEST_CASE("sampling: Philox4x32-10 as its authors give it") {
  using fs::scalar_kernels::Philox;
  const auto encrypted = [](Philox numbers, std::uint32_t k0, std::uint32_t k1) {
    numbers.encrypt({k0, k1});
    return std::array{numbers.word[0], numbers.word[1], numbers.word[2], numbers.word[3]};
  };
  constexpr std::uint32_t ones = 0xffffffff;
  CHECK(encrypted({{0, 0, 0, 0}}, 0, 0) ==
        std::array{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
  CHECK(encrypted({{ones, ones, ones, ones}}, ones, ones) ==
        std::array{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu});
  CHECK(encrypted({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0) ==
        std::array{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u});
}

TEST_CASE("sampling: the same choices from every instruction set, row by row or in a batch") {
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    const std::size_t block = block_of(dtype);
    for (const Pattern& pattern : kPatterns) {
      for (const std::size_t n :
           {std::size_t{1}, std::size_t{7}, std::size_t{64}, std::size_t{300}, 2 * block + 5}) {
        const Bytes x = rows_of(pattern, dtype, n);
        const Array in = dense(dtype, {kRows, static_cast<std::int64_t>(n)}, x);
        check(tally, dtype, x, n, in, pattern.name);
      }
    }
  }
  CHECK(tally.checked() > 10000);
}

TEST_CASE("sampling: layouts") {
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    for (const std::size_t n : {std::size_t{5}, std::size_t{130}, block_of(dtype) + 9}) {
      const Bytes x = rows_of(kPatterns[1], dtype, n);
      for (const Layout layout : kLayouts) {
        Array in = matrix(dtype, kRows, static_cast<std::int64_t>(n), layout);
        from_dense(in, x);
        check(tally, dtype, x, n, in, name(layout));
      }
    }
  }
  CHECK(tally.failed() == 0);
}

TEST_CASE("sampling: rows without a softmax") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const fs::DType dtype : kFloatTypes) {
    const std::vector<double> values = {0,          nan,        1,          nan,         //
                                        1,          2,          kInfinity,  kInfinity,   //
                                        -kInfinity, -kInfinity, -kInfinity, -kInfinity,  //
                                        -kInfinity, 3,          -kInfinity, -kInfinity};
    const Array x = dense(dtype, {4, 4}, encode(dtype, values));
    for (const SampleSetting& setting : kSettings) {
      fs::SampleOptions options;
      setting.set(options);
      const Drawn drawn = run_sample(x, options);
      const Indices expected = {1, 2, 0, 1};
      CHECK_MESSAGE(drawn.indices == expected, setting.name);
      for (std::size_t r = 0; r < 4; ++r)
        CHECK(std::isnan(get(dtype, &drawn.values[r * item_bytes(dtype)])) == (r < 3));
    }
    const Drawn drawn = run_gumbel(x, 4, {});
    const Indices expected = {1, 3, 2, 0, 2, 3, 1, 0, 0, 1, 2, 3, 1, 0, 2, 3};
    CHECK(drawn.indices == expected);
  }
}

TEST_CASE("sampling: one long row, shared by threads") {
  const std::size_t n = 400'000;
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64, fs::DType::bf16}) {
    const Array x =
        dense(dtype, {1, static_cast<std::int64_t>(n)}, make_row(kPatterns[1], dtype, n, 5));
    for (const SampleSetting& setting : kSettings) {
      fs::SampleOptions options;
      setting.set(options);
      for (std::uint64_t seed = 0; seed < 3; ++seed) {
        options.random.seed.value = seed;
        options.max_threads = 1;
        const Drawn alone = run_sample(x, options);
        options.max_threads = 3;
        const Drawn shared = run_sample(x, options);
        CHECK_MESSAGE(alone.indices == shared.indices, setting.name);
        CHECK_MESSAGE(alone.values == shared.values, setting.name);
      }
    }
  }
}

TEST_CASE("sampling: cuts by mass against a sort, in lists of every kind") {
  namespace kernels = fs::scalar_kernels;
  using A = kernels::F32;
  Random random(3);
  long checked = 0;
  for (const std::int64_t n : {1, 2, 63, 64, 65, 200, 1000, 5000}) {
    for (int kind = 0; kind < 5; ++kind) {
      std::vector<float> list(static_cast<std::size_t>(n));
      for (std::size_t i = 0; i < list.size(); ++i) {
        const auto position = static_cast<float>(i);
        const std::array values = {static_cast<float>(3.0 * random.normal()), 1.5f,
                                   static_cast<float>(random.below(3)), position / 100.0f,
                                   -position / 100.0f};
        list[i] = values[static_cast<std::size_t>(kind)];
      }
      const float exponent =
          kernels::ExtExp<A>::exponent(*std::max_element(list.begin(), list.end()));
      const double mass = kernels::mass_of<A>(list.data(), n, exponent);
      for (const double p : {1e-9, 0.1, 0.5, 0.9, 0.999}) {
        const auto room = list.size() + A::width;
        std::vector<float> v = list;
        v.resize(room);
        std::vector<float> spare(room);
        const auto cut = kernels::cut_by_mass(kernels::Lists<A>{exponent}, kernels::ByValue<A>{},
                                              v.data(), n, spare.data(), p * mass, mass);
        std::vector<float> kept;
        std::int64_t equal = cut.equal;
        for (const float z : list)
          if (z > cut.bound || (z == cut.bound && equal-- > 0)) kept.push_back(z);
        const double kept_mass =
            kernels::mass_of<A>(kept.data(), static_cast<std::int64_t>(kept.size()), exponent);
        const float last = *std::min_element(kept.begin(), kept.end());
        CHECK(kept_mass >= p * mass * (1.0 - 1e-12));
        CHECK(kept_mass - kernels::mass_of<A>(&last, 1, exponent) < p * mass * (1.0 + 1e-12));

        v = list;
        v.resize(room);
        const float key = kernels::key_by_bits(kernels::Lists<A>{exponent}, kernels::ByValue<A>{},
                                               v.data(), n, spare.data(), p * mass);
        CHECK(key == cut.bound);
        ++checked;
      }
    }
  }
  CHECK(checked == 8 * 5 * 5);
}

TEST_CASE("sampling: Mirostat keeps the surprise near its aim") {
  const std::size_t n = 5000;
  std::vector<double> logits(n);
  Random random(5);
  for (double& z : logits) z = 3.0 * random.normal();
  const Array x =
      dense(fs::DType::f32, {1, static_cast<std::int64_t>(n)}, encode(fs::DType::f32, logits));
  fs::Mirostat mirostat(4.0, 0.2);
  CHECK(mirostat.mu()[0] == 8.0);
  Array indices = dense(fs::DType::i64, {1, 1});
  double surprise = 0.0;
  const Bytes log = run_row(fs::Op::log_softmax, fs::DType::f32, x.bytes);
  const std::uint64_t steps = 2000;
  for (std::uint64_t step = 0; step < steps; ++step) {
    fs::SampleOptions options;
    options.random.position.value = step;
    const double before = mirostat.mu()[0];
    mirostat.sample(x.view(), 1, indices.out(), options);
    const auto at = static_cast<std::size_t>(indices_in(indices)[0]);
    const double bits = -static_cast<double>(get(fs::DType::f32, &log[4 * at])) / kLn2;
    REQUIRE(mirostat.mu()[0] == doctest::Approx(before - 0.2 * (bits - 4.0)).epsilon(1e-6));
    surprise += bits;
  }
  CHECK(surprise / static_cast<double>(steps) == doctest::Approx(4.0).epsilon(0.02));
  mirostat.reset();
  CHECK(mirostat.mu()[0] == 8.0);
  check_in_each_environment([&] {
    fs::Mirostat fresh(4.0, 0.1);
    for (int step = 0; step < 3; ++step) fresh.sample(x.view(), 1, indices.out());
    return fresh.mu()[0];
  });
  CHECK_THROWS_AS(fs::Mirostat(0.0, 0.1), fs::InvalidArgument);
  CHECK_THROWS_AS(fs::Mirostat(1.0, kInfinity), fs::InvalidArgument);
  fs::Mirostat two(4.0, 0.2, 2);
  CHECK_THROWS_AS(two.sample(x.view(), 1, indices.out()), fs::InvalidArgument);
}

TEST_CASE("sampling: refused arguments") {
  Array x = dense(fs::DType::f32, {2, 5});
  Array indices = dense(fs::DType::i64, {2, 1});
  const auto refused = [&](auto set) {
    fs::SampleOptions options;
    set(options);
    CHECK_THROWS_AS(fs::sample(x.view(), 1, indices.out(), options), fs::InvalidArgument);
  };
  CHECK_NOTHROW(fs::sample(x.view(), 1, indices.out()));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  refused([](fs::SampleOptions& o) { o.temperature.value = -1.0; });
  refused([&](fs::SampleOptions& o) { o.temperature.value = nan; });
  refused([](fs::SampleOptions& o) { o.top_k.value = -1; });
  refused([](fs::SampleOptions& o) { o.top_p.value = 1.5; });
  refused([&](fs::SampleOptions& o) { o.top_p.value = nan; });
  refused([](fs::SampleOptions& o) { o.min_p.value = -0.1; });
  refused([](fs::SampleOptions& o) { o.typical_p.value = 2.0; });
  refused([](fs::SampleOptions& o) { o.top_n_sigma.value = -1.0; });
  refused([&](fs::SampleOptions& o) { o.max_surprise.value = nan; });
  refused([](fs::SampleOptions& o) { o.random.position.value = std::uint64_t{1} << 32; });
  const std::array<double, 3> three = {0.5, 0.5, 0.5};
  const Shape shape = {3, 1};
  const Shape strides = {8, 8};
  refused([&](fs::SampleOptions& o) {
    o.top_p.values = fs::ConstView{three.data(), fs::DType::f64, shape, strides};
  });
  const Shape along = {1, 5};
  refused([&](fs::SampleOptions& o) {
    o.top_p.values = fs::ConstView{three.data(), fs::DType::f64, along, strides};
  });
  CHECK_THROWS_AS(fs::sample(x.view(), 2, indices.out()), fs::InvalidAxis);
  CHECK_THROWS_AS(fs::sample(x.view(), 0, indices.out()), fs::InvalidArgument);
  Array values = dense(fs::DType::f32, {2, 1});
  CHECK_THROWS_AS(fs::sample(x.view(), 1, values.out()), fs::InvalidType);
  CHECK_THROWS_AS(fs::gumbel_topk(x.view(), 6, 1, values.out(), indices.out()),
                  fs::InvalidArgument);
  fs::GumbelTopKOptions zero;
  zero.temperature.value = 0.0;
  CHECK_THROWS_AS(fs::gumbel_topk(x.view(), 1, 1, values.out(), indices.out(), zero),
                  fs::InvalidArgument);
  const Array none = dense(fs::DType::f32, {2, 0});
  CHECK_THROWS_AS(fs::sample(none.view(), 1, indices.out()), fs::InvalidArgument);
}
