// gumbel_softmax: noise within its stated error; the bits of softmax of scores with that noise,
// from every instruction set, layout, batch and number of threads. Distributions are tested from
// Python.
#include "fastsoftmax/gumbel_softmax.hpp"

#include <cmath>

#include "run.h"

#define FASTSOFTMAX_ISA scalar_kernels
#include "simd/vec_scalar.h"

#include "kernels/gumbel_noise.h"

using namespace tests;
namespace scalar = fs::scalar_kernels;

namespace {

using fs::kernels::RandomStream;
template <class T>
using Arithmetic = std::conditional_t<sizeof(T) == 8, scalar::F64, scalar::F32>;

RandomStream stream_of(std::uint64_t seed, std::uint64_t row, std::uint32_t position = 0) {
  const auto low = [](std::uint64_t v) { return static_cast<std::uint32_t>(v); };
  return {{low(seed), low(seed >> 32)}, position, {low(row), low(row >> 32)}};
}

// -log(-log(1 - v)) for v = (2^31 h + l + 1/2) 2^-62, from whichever of v and 1 - v is the smaller.
long double exact_noise(std::uint32_t h, std::uint32_t l) {
  constexpr std::uint32_t flip = 0x7fffffff;
  const auto share = [](std::uint32_t high, std::uint32_t low) {
    const auto whole = static_cast<std::uint64_t>(high) << 31 | low;
    return (static_cast<long double>(whole) + 0.5L) * 0x1p-62L;
  };
  const long double v = share(h, l);
  return -std::log(v < 0.5L ? -std::log1p(-v) : -std::log(share(h ^ flip, l ^ flip)));
}

template <class T>
std::vector<T> noise_of(const RandomStream& stream, std::size_t n) {
  using Noise = scalar::GumbelNoise<Arithmetic<T>>;
  constexpr std::size_t block = 512;
  std::vector<T> noise((n + block - 1) / block * block);
  for (std::size_t start = 0; start < n; start += block)
    Noise::fill(stream, static_cast<std::int64_t>(start),
                static_cast<int>(std::min(block, n - start)), noise.data() + start);
  noise.resize(n);
  return noise;
}

// The largest error in units of 2^-24 (2^-53) of 1 or of the noise, whichever is larger.
template <class T>
double worst_error(std::size_t n) {
  const RandomStream stream = stream_of(11, 3, 5);
  const std::vector<T> noise = noise_of<T>(stream, n);
  long double worst = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const auto draw = static_cast<std::uint32_t>(i / 64 * 16 + i % 16);
    const std::size_t word = i % 64 / 16;
    const std::uint32_t high = scalar::random(stream, 0x80000000 + draw).word[word] >> 1;
    const std::uint32_t low = scalar::random(stream, 0xC0000000 + draw).word[word] >> 1;
    const long double exact = exact_noise(high, low);
    const long double unit = std::max(1.0L, std::fabs(exact)) *
                             static_cast<long double>(std::numeric_limits<T>::epsilon()) / 2;
    worst = std::max(worst, std::fabs(static_cast<long double>(noise[i]) - exact) / unit);
  }
  return static_cast<double>(worst);
}

// Of the formula by itself: from v and 1 - v as they are rounded, over all binades of both.
template <class T>
double worst_of_formula() {
  using A = Arithmetic<T>;
  Random random(5);
  long double worst = 0;
  for (int binade = 1; binade <= 63; ++binade) {
    for (int i = 0; i < 20000; ++i) {
      const T small = static_cast<T>(std::ldexp(0.5 + 0.5 * random.uniform(), 1 - binade));
      const T large = T(1) - small;
      const auto check = [&](T v, T w) {
        const auto inner = v <= T(0.25) ? -std::log1p(-static_cast<long double>(v))
                                        : -std::log(static_cast<long double>(w));
        if (!(inner > 0)) return;
        const long double exact = -std::log(inner);
        const long double unit = std::max(1.0L, std::fabs(exact)) *
                                 static_cast<long double>(std::numeric_limits<T>::epsilon()) / 2;
        const auto found = static_cast<long double>(scalar::GumbelNoise<A>::of(v, w));
        worst = std::max(worst, std::fabs(found - exact) / unit);
      };
      check(small, large);
      check(large, small);
    }
  }
  return static_cast<double>(worst);
}

struct Way {
  const char* name;
  bool hard;
  double temperature;
};
constexpr std::array kWays = {Way{"soft", false, 1.0}, Way{"soft, T = 0.3", false, 0.3},
                              Way{"hard", true, 0.3}};

constexpr std::int64_t kRows = 3;

fs::GumbelSoftmaxOptions options_of(const Way& way, std::uint64_t seed) {
  fs::GumbelSoftmaxOptions options;
  options.hard = way.hard;
  options.temperature.value = way.temperature;
  options.random.seed.value = seed;
  return options;
}

// The last one has a NaN.
Bytes rows_of(const Pattern& pattern, fs::DType dtype, std::size_t n) {
  Bytes x;
  for (std::size_t r = 0; r < kRows; ++r) {
    const Bytes row = make_row(pattern, dtype, n, n + r);
    x.insert(x.end(), row.begin(), row.end());
  }
  if (n < 2) return x;
  const Bytes nan = encode(dtype, std::array{std::numeric_limits<double>::quiet_NaN()});
  std::copy(nan.begin(), nan.end(),
            x.end() - static_cast<std::ptrdiff_t>(nan.size() * (n / 3 + 1)));
  return x;
}

Bytes run(const Array& x, Layout layout, const fs::GumbelSoftmaxOptions& options) {
  Array out = matrix(x.dtype, x.shape[0], x.shape[1], layout);
  fs::gumbel_softmax(x.view(), 1, out.out(), options);
  return to_dense(out);
}

// softmax, or the first of the largest, of scores to which noise was added here, row by row.
template <class T>
Bytes by_hand(fs::DType dtype, const Bytes& x, std::size_t n, const Way& way, std::uint64_t seed) {
  const UseIsa scalar_isa(fs::Isa::scalar);
  Bytes result;
  for (std::size_t r = 0; r < kRows; ++r) {
    std::vector<T> scores = noise_of<T>(stream_of(seed, r), n);
    for (std::size_t i = 0; i < n; ++i) scores[i] += load<T>(&x[(r * n + i) * sizeof(T)]);
    Bytes row(n * sizeof(T));
    std::memcpy(row.data(), scores.data(), row.size());
    fs::Options options;
    if (!way.hard) options.temperature = way.temperature;
    Bytes y = run_row(fs::Op::softmax, dtype, row, options);
    if (way.hard && !std::isnan(load<T>(y.data()))) {
      std::vector<T> one_hot(n);
      one_hot[static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) -
                                       scores.begin())] = 1;
      std::memcpy(y.data(), one_hot.data(), y.size());
    }
    result.insert(result.end(), y.begin(), y.end());
  }
  return result;
}

}  // namespace

TEST_CASE("gumbel noise: sixteen draws at a time are what one at a time are") {
  const RandomStream stream = stream_of(0x123456789abcdef0, 0xfedcba9876543210, 7);
  for (const std::uint32_t draw : {0u, 16u, 0x80000000u, 0xfffffff0u}) {
    std::array<std::uint32_t, 64> words{};
    scalar::random_words(stream, draw, words.data());
    for (std::uint32_t i = 0; i < 64; ++i)
      CHECK(words[i] == scalar::random(stream, draw + i % 16).word[i / 16] >> 1);
  }
}

TEST_CASE("gumbel noise: its error") {
  const double formula32 = worst_of_formula<float>();
  const double formula64 = worst_of_formula<double>();
  const double noise32 = worst_error<float>(1 << 21);
  const double noise64 = worst_error<double>(1 << 20);
  MESSAGE("half ulps of 1 or of the noise, worst: formula "
          << formula32 << " (f32), " << formula64 << " (f64); noise " << noise32 << " (f32), "
          << noise64 << " (f64)");
  CHECK(formula32 < 2.5);
  CHECK(formula64 < 2.5);
  CHECK(noise32 < 5);
  CHECK(noise64 < 5);
}

TEST_CASE("gumbel softmax: softmax of scores with noise, in every layout") {
  Tally tally;
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64}) {
    const std::size_t block = block_of(dtype);
    for (const Pattern& pattern : kPatterns) {
      for (const std::size_t n : {std::size_t{1}, std::size_t{65}, 2 * block + 5}) {
        const Bytes x = rows_of(pattern, dtype, n);
        for (const Way& way : kWays) {
          const Bytes expected = dtype == fs::DType::f32 ? by_hand<float>(dtype, x, n, way, n)
                                                         : by_hand<double>(dtype, x, n, way, n);
          for (const Layout layout : kLayouts) {
            Array in = matrix(dtype, kRows, static_cast<std::int64_t>(n), layout);
            from_dense(in, x);
            tally.same(dtype, expected, run(in, layout, options_of(way, n)), [&] {
              return std::string(pattern.name) + ", " + way.name + ", " + name(layout) +
                     ", n=" + std::to_string(n);
            });
          }
        }
      }
    }
  }
  CHECK(tally.checked() > 1000);
  CHECK(tally.failed() == 0);
}

TEST_CASE("gumbel softmax: the same bits from every instruction set, type, batch and place") {
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    for (std::size_t n = 0; n <= 300; n += n < 140 ? 1 : 23) {
      const Pattern& pattern = kPatterns[n % kPatterns.size()];
      const Bytes x = rows_of(pattern, dtype, n);
      const auto length = static_cast<std::int64_t>(n);
      const Array in = dense(dtype, {kRows, length}, x);
      for (const Way& way : kWays) {
        fs::GumbelSoftmaxOptions options = options_of(way, 9);
        const Bytes found = run(in, Layout::rows, options);
        Bytes expected;
        {
          const UseIsa scalar_isa(fs::Isa::scalar);
          const std::size_t bytes = n * item_bytes(dtype);
          for (std::uint64_t r = 0; r < kRows; ++r) {
            const auto begin = x.begin() + static_cast<std::ptrdiff_t>(r * bytes);
            const Array row =
                dense(dtype, {1, length}, Bytes(begin, begin + static_cast<std::ptrdiff_t>(bytes)));
            const Shape one = {1, 1};
            const Shape strides = {8, 8};
            options.random.row_ids = {0, fs::ConstView{&r, fs::DType::u64, one, strides}};
            const Bytes alone = run(row, Layout::rows, options);
            expected.insert(expected.end(), alone.begin(), alone.end());
          }
          options.random.row_ids.reset();
        }
        const auto described = [&] { return std::string(way.name) + ", n=" + std::to_string(n); };
        tally.same(dtype, expected, found, described);
        Array in_place = in;
        fs::gumbel_softmax(in_place.view(), 1, in_place.out(), options);
        tally.same(dtype, expected, in_place.bytes, described);
        if (!way.hard) continue;
        Array hard = dense(dtype, in.shape);
        Array soft = dense(dtype, in.shape);
        const fs::View of_soft = soft.out();
        fs::gumbel_softmax(in.view(), 1, hard.out(), options, &of_soft);
        options.hard = false;
        tally.same(dtype, expected, hard.bytes, described);
        tally.same(dtype, run(in, Layout::rows, options), soft.bytes, described);
      }
    }
  }
  CHECK(tally.checked() > 3000);
  CHECK(tally.failed() == 0);
}

TEST_CASE("gumbel softmax: threads change nothing") {
  const int before = fs::num_threads();
  Tally tally;
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::bf16}) {
    for (const Shape& shape : {Shape{300, 700}, Shape{2, 150'000}}) {
      const std::int64_t rows = shape[0];
      const std::int64_t n = shape[1];
      const Bytes x = make_row(kPatterns[0], dtype, static_cast<std::size_t>(rows * n), 1);
      for (const Layout layout : {Layout::rows, Layout::columns}) {
        Array in = matrix(dtype, rows, n, layout);
        from_dense(in, x);
        for (const Way& way : kWays) {
          fs::GumbelSoftmaxOptions options = options_of(way, 1);
          options.max_threads = 1;
          const Bytes expected = run(in, Layout::rows, options);
          fs::set_num_threads(3);
          options.max_threads = 3;
          tally.same(dtype, expected, run(in, layout, options), [&] { return way.name; });
        }
      }
    }
  }
  fs::set_num_threads(before);
  CHECK(tally.failed() == 0);
}

TEST_CASE("gumbel softmax: refused arguments") {
  Array x = dense(fs::DType::f32, {2, 5}, Bytes(40, 0));
  Array out = dense(fs::DType::f32, {2, 5});
  const auto refused = [&](auto set) {
    fs::GumbelSoftmaxOptions options;
    set(options);
    const Bytes before = out.bytes;
    CHECK_THROWS_AS(fs::gumbel_softmax(x.view(), 1, out.out(), options), fs::InvalidArgument);
    CHECK(out.bytes == before);
  };
  using Options = fs::GumbelSoftmaxOptions;
  refused([](Options& o) { o.temperature.value = 0.0; });
  refused([](Options& o) { o.temperature.value = -1.0; });
  refused([](Options& o) { o.temperature.value = 1e-60; });
  refused([](Options& o) { o.temperature.value = kInfinity; });
  refused([](Options& o) { o.random.position.value = std::uint64_t{1} << 32; });
  refused([](Options& o) { o.max_threads = -1; });
  refused([](Options& o) { o.dtype = fs::DType::f64; });
  const std::array<double, 3> three = {0.5, 0.5, 0.5};
  const Shape shape = {3, 1};
  const Shape strides = {8, 8};
  refused([&](Options& o) {
    o.temperature.values = fs::ConstView{three.data(), fs::DType::f64, shape, strides};
  });
  const Shape two = {2, 1};
  refused([&](Options& o) {
    o.random.row_ids = {0, fs::ConstView{out.bytes.data(), fs::DType::u64, two, strides}};
  });
  const fs::View itself = out.out();
  CHECK_THROWS_AS(fs::gumbel_softmax(x.view(), 1, out.out(), {}, &itself), fs::InvalidArgument);
  Options hard;
  hard.hard = true;
  CHECK_THROWS_AS(fs::gumbel_softmax(x.view(), 1, out.out(), hard, &itself), fs::InvalidArgument);
  CHECK_THROWS_AS(fs::gumbel_softmax(x.view(), 2, out.out()), fs::InvalidAxis);
  Array wrong = dense(fs::DType::f32, {2, 4});
  CHECK_THROWS_AS(fs::gumbel_softmax(x.view(), 1, wrong.out()), fs::InvalidArgument);
}
