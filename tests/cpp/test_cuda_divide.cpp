// Scores over a temperature, as the kernels of a device form them: the quotients of IEEE division.
#include "emulated_kernels.h"

#include <array>
#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "corpus.h"
#include "cuda/divide.h"

namespace tests {
namespace {

constexpr int kTogether = 4;

// How many quotients differ in a bit.
int wrong(const std::array<float, kTogether>& z, float t) {
  std::array<float, kTogether> v = z;
  cuda::divide<cuda::F32, kTogether>(v.data(), t);
  int count = 0;
  for (std::size_t i = 0; i < kTogether; ++i)
    count += cuda::bits_of(v[i]) != cuda::bits_of(z[i] / t) ? 1 : 0;
  return count;
}

float number(Random& random, std::int64_t least_exponent, std::int64_t exponents) {
  std::uint32_t significand = static_cast<std::uint32_t>(random.below(1 << 23));
  if (random.chance(0.05)) significand = random.chance(0.5) ? 0 : 0x7fffff;
  const auto exponent = static_cast<int>(least_exponent + random.below(exponents));
  return std::ldexp(1.0f + static_cast<float>(significand) * 0x1p-23f, exponent);
}

TEST_CASE("scores over a temperature are quotients") {
  Random random(11);
  int failed = 0;
  for (int turn = 0; turn < 200'000; ++turn) {
    const float t = number(random, -20, 40);
    // Half of them next to a quotient in the middle between two numbers.
    std::array<float, kTogether> z;
    for (float& score : z) {
      score = number(random, -96, 192);
      if (turn % 2 == 0) {
        const double middle = static_cast<double>((1 << 25) | random.below(1 << 25) | 1);
        const auto product = static_cast<float>(middle * static_cast<double>(t));
        int exponent = 0;
        score =
            std::ldexp(std::frexp(product, &exponent), static_cast<int>(random.below(190)) - 95);
        if (random.chance(0.5)) score = std::nextafter(score, random.chance(0.5) ? 0.0f : 1e38f);
      }
      if (random.chance(0.5)) score = -score;
    }
    failed += wrong(z, t);
  }
  CHECK(failed == 0);
}

TEST_CASE("scores and temperatures of every size are divided") {
  Random random(12);
  constexpr float inf = std::numeric_limits<float>::infinity();
  constexpr std::array special = {0.0f,           -0.0f,           inf,       -inf,
                                  0x1p-96f,       0x1.fffffep-97f, 0x1p-149f, 0x1p96f,
                                  0x1.000002p96f, 0x1.fffffep127f};
  int failed = 0;
  for (int turn = 0; turn < 100'000; ++turn) {
    const float t = random.chance(0.5) ? number(random, -126, 253) : number(random, -21, 43);
    std::array<float, kTogether> z;
    for (float& score : z)
      score = random.chance(0.2) ? special[static_cast<std::size_t>(
                                       random.below(static_cast<std::int64_t>(special.size())))]
                                 : number(random, -126, 254);
    failed += wrong(z, t);
  }
  CHECK(failed == 0);
}

}  // namespace
}  // namespace tests
