// Inputs, the same on every platform: integer random numbers and exact arithmetic, no libm.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace tests {

// SplitMix64 (Steele, Lea and Flood, 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(n));
  }
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  // The sum of twelve uniform numbers less 6: mean 0, variance 1, within +-6.
  double normal() {
    std::int64_t sum = 0;
    for (int i = 0; i < 6; ++i) {
      const std::uint64_t pair = bits();
      sum += static_cast<std::int64_t>((pair >> 32) + (pair & 0xffffffffu));
    }
    return static_cast<double>(sum) * 0x1p-32 - 6.0;
  }
  bool chance(double probability) { return uniform() < probability; }
  template <class T>
  void shuffle(std::vector<T>& values) {
    for (std::size_t i = values.size(); i > 1; --i)
      std::swap(values[i - 1],
                values[static_cast<std::size_t>(below(static_cast<std::int64_t>(i)))]);
  }

 private:
  std::uint64_t state_;
};

inline constexpr double kLn2 = 0x1.62e42fefa39efp-1;
inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
// The largest |x| for which e^x is formed without subtracting the maximum first.
inline constexpr double kDomain = 131072.0 * kLn2;

using Row = std::span<double>;

// One kind of row. `block` is the length of a reduction block of the type the row is made for.
struct Pattern {
  const char* name;
  void (*fill)(Random& random, Row row, std::size_t block);
};

namespace patterns {

template <class F>
void each(Row row, F f) {
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = f(i);
}

// scale * normal + offset, scale and offset in thousandths.
template <std::int64_t Scale, std::int64_t Offset = 0>
void normal(Random& r, Row row, std::size_t) {
  each(row, [&](std::size_t) {
    return static_cast<double>(Scale) * 1e-3 * r.normal() + static_cast<double>(Offset) * 1e-3;
  });
}

inline void wide(Random& r, Row row, std::size_t) {
  each(row, [&](std::size_t) { return 1e20 * r.normal(); });
}

// Normal with a third of the elements replaced by the value masks are made of.
template <int Mask>
void masked(Random& r, Row row, std::size_t) {
  constexpr double values[] = {-kInfinity, -1e9, -0x1.fffffep127, -10000.0,
                               -std::numeric_limits<double>::max()};
  each(row, [&](std::size_t) { return r.chance(0.33) ? values[Mask] : r.normal(); });
}

inline void first_blocks_masked(Random& r, Row row, std::size_t block) {
  const std::size_t masked = row.size() > block ? (row.size() - 1) / block * block : row.size() / 2;
  each(row, [&](std::size_t i) { return i < masked ? -kInfinity : 3.0 * r.normal(); });
}

inline void last_blocks_masked(Random& r, Row row, std::size_t block) {
  const std::size_t kept = row.size() > block ? block : row.size() / 2;
  each(row, [&](std::size_t i) { return i < kept ? 3.0 * r.normal() : -1e9; });
}

inline void middle_block_masked(Random& r, Row row, std::size_t block) {
  each(row, [&](std::size_t i) { return i / block == 1 ? -kInfinity : 3.0 * r.normal(); });
}

inline void constant(Random& r, Row row, std::size_t) {
  const double value = 20.0 * r.normal();
  each(row, [&](std::size_t) { return value; });
}

inline void ascending(Random&, Row row, std::size_t) {
  each(row, [&](std::size_t i) { return -20.0 + static_cast<double>(i) * 0.0625; });
}

inline void descending(Random&, Row row, std::size_t) {
  each(row, [&](std::size_t i) { return 20.0 - static_cast<double>(i) * 0.0625; });
}

inline void one_hot(Random& r, Row row, std::size_t) {
  const auto hot = static_cast<std::size_t>(r.bits()) % std::max<std::size_t>(row.size(), 1);
  const double value = 100.0 * r.uniform();
  each(row, [&](std::size_t i) { return i == hot ? value : 0.0; });
}

inline void subnormal(Random& r, Row row, std::size_t) {
  each(row, [&](std::size_t) {
    const double tiny = r.normal();
    return r.chance(0.5) ? tiny * 0x1p-130 : tiny * 0x1p-1030;
  });
}

// Few distinct values, so that the maximum occurs often; both zeros among them.
inline void ties(Random& r, Row row, std::size_t) {
  constexpr double values[] = {-0.0, 0.0, -1.0, -2.0};
  each(row, [&](std::size_t) { return values[r.below(4)]; });
}

// A span of exponents: such as some limit allows or just exceeds, or any.
inline std::int64_t random_span(Random& r) {
  constexpr std::int64_t limits[] = {24,  48,  100, 120, 126,  140,  149,  164, 188,
                                     190, 254, 300, 900, 1000, 1022, 1086, 2100};
  if (r.chance(0.3)) return r.below(260);
  return limits[r.below(std::size(limits))] + r.below(3) - 1;
}

// Exponents that span exactly so much; all mantissas 1, or any.
template <bool Powers>
void spanning(Random& r, Row row, std::size_t) {
  const std::int64_t span = random_span(r);
  each(row, [&](std::size_t) {
    return -kLn2 * (Powers ? static_cast<double>(r.below(span + 1))
                           : static_cast<double>(span) * r.uniform());
  });
  if (row.size() > 1) {
    row[static_cast<std::size_t>(r.below(static_cast<std::int64_t>(row.size())))] = 0.0;
    row[static_cast<std::size_t>(r.below(static_cast<std::int64_t>(row.size())))] =
        -static_cast<double>(span) * kLn2;
  }
}

// Blocks far apart from each other, narrow in themselves.
inline void steps(Random& r, Row row, std::size_t block) {
  const double step = 40.0 * r.normal();
  each(row, [&](std::size_t i) { return static_cast<double>(i / block) * step + r.normal(); });
}

// Around Factor * kDomain, Factor in halves; the maximum falls on either side of it.
template <int Factor>
void edge(Random& r, Row row, std::size_t) {
  const double middle = kDomain * Factor * 0.5;
  const double shift = 2.0 * r.normal();
  each(row, [&](std::size_t) { return middle + shift + r.normal(); });
}

// One element that settles whether the row is in the domain, others far below.
inline void lone_maximum(Random& r, Row row, std::size_t) {
  each(row, [&](std::size_t) { return -3.0 * kDomain * r.uniform(); });
  if (!row.empty()) row[row.size() / 2] = -kDomain + 2.0 * r.normal();
}

}  // namespace patterns

inline constexpr std::array kPatterns = {
    Pattern{"normal 1", patterns::normal<1000>},
    Pattern{"normal 3", patterns::normal<3000>},
    Pattern{"normal 5", patterns::normal<5000>},
    Pattern{"normal 40", patterns::normal<40000>},
    Pattern{"normal 1e3", patterns::normal<1000000>},
    Pattern{"normal 1e5", patterns::normal<100000000>},
    Pattern{"normal 1e20", patterns::wide},
    Pattern{"offset 1e4", patterns::normal<1000, 10000000>},
    Pattern{"offset -1e4", patterns::normal<1000, -10000000>},
    Pattern{"offset 1e9", patterns::normal<1000000, 1000000000000>},
    Pattern{"mask -inf", patterns::masked<0>},
    Pattern{"mask -1e9", patterns::masked<1>},
    Pattern{"mask -FLT_MAX", patterns::masked<2>},
    Pattern{"mask -1e4", patterns::masked<3>},
    Pattern{"mask -DBL_MAX", patterns::masked<4>},
    Pattern{"first blocks masked", patterns::first_blocks_masked},
    Pattern{"last blocks masked", patterns::last_blocks_masked},
    Pattern{"middle block masked", patterns::middle_block_masked},
    Pattern{"constant", patterns::constant},
    Pattern{"ascending", patterns::ascending},
    Pattern{"descending", patterns::descending},
    Pattern{"one-hot", patterns::one_hot},
    Pattern{"subnormal", patterns::subnormal},
    Pattern{"ties", patterns::ties},
    Pattern{"powers of two", patterns::spanning<true>},
    Pattern{"spanning", patterns::spanning<false>},
    Pattern{"steps", patterns::steps},
    Pattern{"upper edge", patterns::edge<2>},
    Pattern{"lower edge", patterns::edge<-2>},
    Pattern{"clamp edge", patterns::edge<-4>},
    Pattern{"lone maximum", patterns::lone_maximum},
};

}  // namespace tests
