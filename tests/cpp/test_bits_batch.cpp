// The same bits wherever a row lies: in a batch, at any alignment, in place, with stores that
// bypass the cache, and whatever floating-point environment the host program has set.
#include "float_environment.h"
#include "planned.h"

using namespace tests;

namespace {

std::vector<std::size_t> some_lengths(fs::DType dtype) {
  const std::size_t block = block_of(dtype);
  return {1, 5, 16, 33, 64, 100, block - 1, block, block + 3, 3 * block + 7};
}

std::string text(fs::DType dtype, fs::Op op, fs::Algorithm algorithm, std::size_t n,
                 const std::string& what) {
  return describe(op, dtype, algorithm) + " n=" + std::to_string(n) + " " + what;
}

// x + out offsets in elements; what lies around the result must stay as it is.
Bytes run_at(fs::DType dtype, fs::Op op, fs::Algorithm algorithm, const Bytes& x,
             std::size_t x_offset, std::size_t y_offset, bool stream) {
  const std::size_t item = item_bytes(dtype);
  const auto n = static_cast<std::int64_t>(x.size() / item);
  const std::int64_t width = op == fs::Op::logsumexp ? 1 : n;
  constexpr std::size_t margin = 128;
  Array in = strided(dtype, {n}, {fs::itemsize(dtype)}, margin);
  in.bytes.resize(in.bytes.size() + 16 * item);
  in.offset += x_offset * item;
  from_dense(in, x);
  Array out = strided(dtype, {width}, {fs::itemsize(dtype)}, margin);
  out.bytes.resize(out.bytes.size() + 16 * item, 0xa5);
  out.offset += y_offset * item;
  const Bytes before = out.bytes;
  const std::array axes = {0};
  apply_planned(op, in.view(), out.out(), axes, with(algorithm),
                [&](fs::Plan& plan) { plan.stream = stream; });
  const Bytes y = to_dense(out);
  Bytes expected = before;
  std::copy(y.begin(), y.end(), expected.begin() + static_cast<std::ptrdiff_t>(out.offset));
  return expected == out.bytes ? y : Bytes();
}

}  // namespace

TEST_CASE("bits: position in a batch") {
  Tally tally;
  for_each_case([&](fs::DType dtype, fs::Op op, fs::Algorithm algorithm) {
    const auto item = fs::itemsize(dtype);
    for (const std::size_t n : some_lengths(dtype)) {
      const auto width = static_cast<std::int64_t>(n);
      for (const std::int64_t padding : {0, 3}) {
        constexpr std::int64_t rows = kPatterns.size();
        Array x = strided(dtype, {rows, width}, {(width + padding) * item, item});
        Bytes values;
        Bytes expected;
        for (std::size_t r = 0; r < rows; ++r) {
          const Bytes row = make_row(kPatterns[r], dtype, n, r);
          const Bytes y = run_row(op, dtype, row, with(algorithm));
          values.insert(values.end(), row.begin(), row.end());
          expected.insert(expected.end(), y.begin(), y.end());
        }
        from_dense(x, values);
        Array out = matrix(dtype, rows, op == fs::Op::logsumexp ? 1 : width, Layout::rows);
        const std::array axes = {-1};
        apply(op, x.view(), out.out(), axes, with(algorithm));
        tally.same(dtype, expected, to_dense(out), [&] {
          return text(dtype, op, algorithm, n, padding == 0 ? "dense" : "padded");
        });
      }
    }
  });
  CHECK(tally.checked() == kCases * 10 * 2);
}

// Several short rows may be taken at once.
TEST_CASE("bits: batches of short rows") {
  Tally tally;
  Random random(31);
  for (std::size_t rows = 1; rows <= 40; rows += rows < 18 ? 1 : 11) {
    for_each_case([&](fs::DType dtype, fs::Op op, fs::Algorithm algorithm) {
      for (const std::int64_t longest : {20, 140, 1200}) {
        const auto n = static_cast<std::size_t>(1 + random.below(longest));
        Bytes x = random_rows(random, dtype, rows, n);
        if (random.chance(0.2))
          put(dtype,
              &x[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(rows * n))) *
                 item_bytes(dtype)],
              random.chance(0.7) ? std::numeric_limits<double>::quiet_NaN() : kInfinity);
        tally.same(
            dtype, one_by_one(op, dtype, x, n),
            run_matrix(op, dtype, static_cast<std::int64_t>(n), x, Layout::rows, with(algorithm)),
            [&] { return text(dtype, op, algorithm, n, std::to_string(rows) + " rows"); });
      }
    });
  }
  CHECK(tally.checked() == 20 * kCases * 3);
}

TEST_CASE("bits: alignment and streaming stores") {
  Tally tally;
  for_each_case([&](fs::DType dtype, fs::Op op, fs::Algorithm algorithm) {
    for (const std::size_t n : some_lengths(dtype)) {
      const Bytes x = make_row(kPatterns[n % 6], dtype, n, n);
      const Bytes expected = run_row(op, dtype, x);
      for (std::size_t offset = 0; offset <= 16; ++offset) {
        for (const bool stream : {false, true}) {
          const std::size_t x_offset = (offset * 5) % 17;
          tally.same(dtype, expected, run_at(dtype, op, algorithm, x, x_offset, offset, stream),
                     [&] {
                       return text(dtype, op, algorithm, n,
                                   (stream ? "streamed at " : "at ") + std::to_string(offset));
                     });
        }
      }
    }
  });
  CHECK(tally.checked() == kCases * 10 * 17 * 2);
}

// Tiles whose lines begin where a store may bypass the cache, and tiles an element behind.
TEST_CASE("bits: columns with streaming stores") {
  Tally tally;
  Random random(58);
  const std::array axes = {1};
  constexpr std::int64_t columns = 320;
  for (const fs::DType dtype : kFloatTypes) {
    for (const std::int64_t n : {2, 3, 21, 32, 64, 65, 130, 1100}) {
      const auto length = static_cast<std::size_t>(n);
      const Bytes x = random_rows(random, dtype, columns, length);
      const Bytes expected = one_by_one(fs::Op::softmax, dtype, x, length);
      Array in = matrix(dtype, columns, n, Layout::columns);
      from_dense(in, x);
      for (const std::size_t behind : {0, 1}) {
        Array out = matrix(dtype, columns, n, Layout::columns);
        out.bytes.resize(out.bytes.size() + 128);
        const auto past = reinterpret_cast<std::uintptr_t>(out.bytes.data() + out.offset) % 64;
        out.offset += (64 - past) % 64 + behind * item_bytes(dtype);
        apply_planned(fs::Op::softmax, in.view(), out.out(), axes, {}, [&](fs::Plan& plan) {
          CHECK(plan.layout == fs::Layout::columns);
          plan.algorithm = fs::Algorithm::three_pass_reload;
          plan.stream = true;
          plan.scratch_bytes = n * plan.tile_columns * 8;
        });
        tally.same(dtype, expected, to_dense(out), [&] {
          return text(dtype, fs::Op::softmax, fs::Algorithm::three_pass_reload, length,
                      "behind by " + std::to_string(behind));
        });
      }
    }
  }
  CHECK(tally.checked() == 4 * 8 * 2);
}

// Rows of several blocks, each written while the next is summed, whatever kinds they are.
TEST_CASE("bits: two rows in flight") {
  Tally tally;
  Random random(57);
  for (const fs::DType dtype : kFloatTypes) {
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    for (std::int64_t rows = 1; rows <= 9; ++rows) {
      const std::int64_t n = block + 1 + random.below(3 * block);
      const Bytes x =
          random_rows(random, dtype, static_cast<std::size_t>(rows), static_cast<std::size_t>(n));
      for (const auto& [op, algorithm] : {std::pair{fs::Op::softmax, fs::Algorithm::online_reload},
                                          std::pair{fs::Op::log_softmax, fs::Algorithm::online}}) {
        const Bytes expected = one_by_one(op, dtype, x, static_cast<std::size_t>(n));
        for (int way = 0; way < 4; ++way) {
          const bool stream = way % 2 == 0;
          const bool in_place = way / 2 == 0;
          Array in = matrix(dtype, rows, n, Layout::rows);
          from_dense(in, x);
          Array out = matrix(dtype, rows, n, Layout::rows);
          Array& y = in_place ? in : out;
          const std::array axes = {1};
          apply_planned(op, in.view(), y.out(), axes, with(algorithm), [&](fs::Plan& plan) {
            plan.algorithm = algorithm;
            plan.stream = stream;
            plan.rows_in_flight = 2;
            plan.scratch_bytes = 2 * (n * 8 / 64 * 64 + 64 + fs::kernels::kScratchSlack);
          });
          tally.same(dtype, expected, to_dense(y), [&] {
            return text(dtype, op, algorithm, static_cast<std::size_t>(n),
                        std::to_string(rows) + " rows");
          });
        }
      }
    }
  }
  CHECK(tally.checked() == 4 * 9 * 2 * 4);
}

TEST_CASE("bits: in place") {
  Tally tally;
  for_each_case([&](fs::DType dtype, fs::Op op, fs::Algorithm algorithm) {
    if (op == fs::Op::logsumexp) return;
    for (const std::size_t n : some_lengths(dtype)) {
      for (const Layout layout : kLayouts) {
        constexpr std::int64_t rows = 7;
        Bytes values;
        for (std::size_t r = 0; r < rows; ++r) {
          const Bytes row = make_row(kPatterns[(n + r * 5) % kPatterns.size()], dtype, n, r);
          values.insert(values.end(), row.begin(), row.end());
        }
        const auto width = static_cast<std::int64_t>(n);
        const Bytes expected = run_matrix(op, dtype, width, values, Layout::rows, with(algorithm));
        Array x = matrix(dtype, rows, width, layout);
        from_dense(x, values);
        const std::array axes = {1};
        apply(op, x.view(), x.out(), axes, with(algorithm));
        tally.same(dtype, expected, to_dense(x),
                   [&] { return text(dtype, op, algorithm, n, name(layout)); });
      }
    }
  });
  CHECK(tally.checked() == static_cast<long>(2 * 4 * kAlgorithms.size() * 10 * 4));
}

TEST_CASE("bits: the host's floating-point environment neither matters nor changes") {
  Tally tally;
  for_each_case([&](fs::DType dtype, fs::Op op, fs::Algorithm algorithm) {
    for (const std::size_t pattern :
         {std::size_t{2}, std::size_t{6}, std::size_t{22}, std::size_t{24}, std::size_t{26}}) {
      const std::size_t n = block_of(dtype) + 39;
      const Bytes x = make_row(kPatterns[pattern], dtype, 3 * n, n);
      for (const Layout layout : kLayouts) {
        fs::Options options = with(algorithm);
        options.temperature = layout == Layout::rows ? 1.0 : 0.7;
        const auto run = [&] {
          return run_matrix(op, dtype, static_cast<std::int64_t>(n), x, layout, options);
        };
        const Bytes expected = run();
        in_each_environment(run, [&](int rounding, const Bytes& actual, bool unchanged) {
          tally.same(dtype, expected, actual, [&] {
            return text(dtype, op, algorithm, n, "rounding mode " + std::to_string(rounding));
          });
          tally.expect(unchanged,
                       [&] { return text(dtype, op, algorithm, n, "environment changed"); });
        });
      }
    }
  });
  CHECK(tally.checked() == kCases * 5 * 4 * 4 * 2);
}
