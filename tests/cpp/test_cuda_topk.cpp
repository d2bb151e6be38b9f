// The CUDA kernels of topk and softmax_topk, run thread block by thread block on this CPU: the bits
// and the indices of the library.
#include "emulated_topk.h"

namespace tests {
namespace {

TEST_CASE("topk on a device: every pattern and length, in every layout") {
  Random random(1);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    const std::size_t block = block_of(dtype);
    for (const Pattern& pattern : kPatterns) {
      for (const std::size_t n : {std::size_t{1}, std::size_t{7}, std::size_t{64}, std::size_t{300},
                                  block - 1, block, block + 1, 3 * block + 5}) {
        if (n > 64 && random.chance(0.5)) continue;
        const auto length = static_cast<std::int64_t>(n);
        Array in = matrix(dtype, 2, length, static_cast<Layout>(random.below(4)));
        from_dense(in, rows_of(pattern, random, dtype, 2, n));
        check(tally, in, some_case(random, length), random, pattern.name);
      }
    }
  }
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 1000);
}

TEST_CASE("topk on a device: NaN, infinities and zeros of both signs") {
  Random random(2);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    const std::size_t item = item_bytes(dtype);
    for (const std::size_t n : {std::size_t{9}, std::size_t{64}, block_of(dtype) + 70}) {
      for (const double special :
           {std::numeric_limits<double>::quiet_NaN(), kInfinity, -kInfinity}) {
        for (int turn = 0; turn < 5; ++turn) {
          Bytes x = rows_of(kPatterns[1], random, dtype, 3, n);
          const auto anywhere = [&] {
            return static_cast<std::size_t>(random.below(static_cast<std::int64_t>(n))) * item;
          };
          for (int i = 0; i < 1 << turn; ++i) {
            put(dtype, &x[anywhere()], special);
            put(dtype, &x[n * item + anywhere()], random.chance(0.5) ? 0.0 : -0.0);
            put(dtype, &x[2 * n * item + anywhere()], special);
            put(dtype, &x[2 * n * item + anywhere()], -kInfinity);
          }
          Array in = dense(dtype, {3, static_cast<std::int64_t>(n)}, x);
          check(tally, in, some_case(random, static_cast<std::int64_t>(n)), random, "special");
        }
      }
    }
  }
  CHECK(tally.failed() == 0);
}

TEST_CASE("topk on a device: masks") {
  Random random(3);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    for (const std::size_t n : {std::size_t{1}, std::size_t{40}, block_of(dtype) + 70}) {
      for (const double share : {0.0, 0.02, 0.5, 0.98}) {
        for (const Pattern& pattern : {kPatterns[1], kPatterns[10], kPatterns[18], kPatterns[28]}) {
          const auto length = static_cast<std::int64_t>(n);
          Array in = matrix(dtype, 3, length, static_cast<Layout>(random.below(4)));
          Bytes x = rows_of(pattern, random, dtype, 3, n);
          if (random.chance(0.3)) put(dtype, x.data(), std::numeric_limits<double>::quiet_NaN());
          from_dense(in, x);
          const Mask mask(random, 3, length, share);
          TopkCase c = some_case(random, length);
          c.selection = false;
          c.options.where = mask.view();
          check(tally, in, c, random, "masked");
        }
      }
    }
  }
  CHECK(tally.failed() == 0);
}

TEST_CASE("topk on a device: integers") {
  Random random(4);
  Tally tally;
  for (const fs::DType dtype :
       {fs::DType::i8, fs::DType::i16, fs::DType::i32, fs::DType::i64, fs::DType::u8,
        fs::DType::u16, fs::DType::u32, fs::DType::u64, fs::DType::boolean}) {
    for (const std::int64_t n : {std::int64_t{1}, std::int64_t{100}, std::int64_t{1200}}) {
      for (const bool few : {false, true}) {
        Array in = matrix(dtype, 2, n, static_cast<Layout>(random.below(4)));
        Bytes x(static_cast<std::size_t>(2 * n) * item_bytes(dtype));
        for (unsigned char& b : x)
          b = static_cast<unsigned char>(few || dtype == fs::DType::boolean ? random.below(2)
                                                                            : random.below(256));
        from_dense(in, x);
        TopkCase c{some_k(random, n), true, random.chance(0.5)};
        check(tally, in, c, random, "integers");
      }
    }
  }
  CHECK(tally.failed() == 0);
}

// Rows that start anywhere, further axes on both sides of the reduced one, and strides backwards.
TEST_CASE("topk on a device: arrays of three dimensions, misaligned and reversed") {
  Random random(5);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    for (int turn = 0; turn < 12; ++turn) {
      const Shape shape = {2, 1 + random.below(90), 3};
      Shape strides =
          dense_strides(turn % 2 == 0 ? Shape{2, shape[1], 3} : Shape{2, 3, shape[1]}, dtype);
      if (turn % 2 != 0) std::swap(strides[1], strides[2]);
      if (turn % 3 == 0) strides[1] = -strides[1];
      Array in = strided(dtype, shape, strides,
                         static_cast<std::size_t>(random.below(4)) * item_bytes(dtype));
      from_dense(in,
                 rows_of(kPatterns[23], random, dtype, 1, static_cast<std::size_t>(6 * shape[1])));
      check(tally, in, some_case(random, shape[1]), random, "strided");
    }
  }
  CHECK(tally.failed() == 0);
}

}  // namespace
}  // namespace tests
