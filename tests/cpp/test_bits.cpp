// The same bits from every algorithm and every instruction set. (test_bits_batch.cpp: wherever the
// row lies and whoever computes it; test_bits_layout.cpp: however its elements are laid out.)
#include "run.h"

using namespace tests;

namespace {

// The scalar kernels' result is what the instruction set in use must reproduce.
void compare_row(Tally& tally, const Pattern& pattern, fs::DType dtype, std::size_t n,
                 std::uint64_t seed) {
  const Bytes x = make_row(pattern, dtype, n, seed);
  for (const fs::Op op : kOps) {
    Bytes expected;
    {
      const UseIsa scalar(fs::Isa::scalar);
      expected = run_row(op, dtype, x);
    }
    for (const fs::Algorithm algorithm : kAlgorithms) {
      tally.same(dtype, expected, run_row(op, dtype, x, with(algorithm)), [&] {
        return describe(op, dtype, algorithm) + " n=" + std::to_string(n) + " " + pattern.name;
      });
    }
  }
}

// Lengths as `lengths_of` gives them for a type.
template <class Lengths>
void compare_lengths(Lengths&& lengths_of) {
  Tally tally;
  std::size_t rows = 0;
  for (const fs::DType dtype : kFloatTypes) {
    for (const std::size_t n : lengths_of(dtype)) {
      for (const Pattern& pattern : kPatterns) compare_row(tally, pattern, dtype, n, n);
      rows += kPatterns.size();
    }
  }
  CHECK(tally.checked() == static_cast<long>(rows * kOps.size() * kAlgorithms.size()));
}

}  // namespace

TEST_CASE("bits: every length to 300") {
  compare_lengths([](fs::DType) {
    std::vector<std::size_t> lengths;
    for (std::size_t n = 0; n <= 300; ++n) lengths.push_back(n);
    return lengths;
  });
}

TEST_CASE("bits: around block edges") {
  compare_lengths([](fs::DType dtype) {
    std::vector<std::size_t> lengths;
    for (std::size_t k = 1; k <= 3; ++k) {
      const std::size_t edge = k * block_of(dtype);
      for (std::size_t n = edge - (k < 3 ? 2 : 1); n <= edge + (k < 3 ? 2 : 1); ++n)
        lengths.push_back(n);
    }
    return lengths;
  });
}

TEST_CASE("bits: many blocks") {
  compare_lengths([](fs::DType) { return std::vector<std::size_t>{5000, 10007}; });
}

TEST_CASE("bits: a long row") {
  Tally tally;
  for (const fs::DType dtype : kFloatTypes)
    for (const std::size_t pattern : {std::size_t{1}, std::size_t{4}, std::size_t{10}})
      compare_row(tally, kPatterns[pattern], dtype, 100003, pattern);
  CHECK(tally.checked() == 3 * kCases);
}

// Near-equal exponents in random order, again and again: rows short enough to make many of them.
TEST_CASE("bits: many random rows") {
  Tally tally;
  Random random(7);
  for (int i = 0; i < 3000; ++i) {
    const auto n = static_cast<std::size_t>(1 + random.below(1500));
    const Pattern& pattern = kPatterns[static_cast<std::size_t>(random.below(kPatterns.size()))];
    compare_row(tally, pattern, kFloatTypes[static_cast<std::size_t>(i) % 4], n, random.bits());
  }
  CHECK(tally.checked() == 750 * kCases);
}
