// The table "Special values" of docs/numerics.md: NaN and infinities at every position, empty rows,
// masks, rows without elements.
#include "run.h"

using namespace tests;

namespace {

struct Kind {
  fs::Op op;
  fs::DType dtype;
  fs::Algorithm algorithm;
  Layout layout;
};

template <class F>
void for_each_kind(F&& f) {
  for (const fs::DType dtype : kFloatTypes)
    for (const fs::Op op : kOps)
      for (const fs::Algorithm algorithm : kAlgorithms)
        for (const Layout layout : kLayouts) f(Kind{op, dtype, algorithm, layout});
}

// Bit patterns, of f32 / f64 / f16 / bf16 as in kFloatTypes.
struct Special {
  const char* name;
  std::uint64_t bits[4];
};
constexpr Special kNan = {"NaN", {0x7fc00000, 0x7ff8000000000000, 0x7e00, 0x7fc0}};
constexpr Special kNans[] = {
    kNan,
    {"-NaN", {0xffc00000, 0xfff8000000000000, 0xfe00, 0xffc0}},
    {"NaN with payload", {0x7fc12345, 0x7ff8000012345678, 0x7e55, 0x7fc5}},
    {"signalling NaN", {0x7f800001, 0x7ff0000000000001, 0x7c01, 0x7f81}},
    {"negative signalling NaN", {0xffbfffff, 0xfff7ffffffffffff, 0xfdff, 0xffbf}},
};
constexpr Special kPlusInf = {"+inf", {0x7f800000, 0x7ff0000000000000, 0x7c00, 0x7f80}};
constexpr Special kMinusInf = {"-inf", {0xff800000, 0xfff0000000000000, 0xfc00, 0xff80}};
constexpr Special kZero = {"0", {0, 0, 0, 0}};

std::uint64_t bits_of(const Special& special, fs::DType dtype) {
  return special
      .bits[std::find(kFloatTypes.begin(), kFloatTypes.end(), dtype) - kFloatTypes.begin()];
}

void set(Bytes& bytes, fs::DType dtype, std::size_t i, const Special& value) {
  const std::uint64_t bits = bits_of(value, dtype);  // the low bytes come first
  std::memcpy(bytes.data() + i * item_bytes(dtype), &bits, item_bytes(dtype));
}

bool is(const Bytes& bytes, fs::DType dtype, std::size_t i, const Special& value) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, bytes.data() + i * item_bytes(dtype), item_bytes(dtype));
  return bits == bits_of(value, dtype);
}

// All elements of result row r.
bool row_is(const Bytes& y, const Kind& kind, std::size_t n, std::size_t r, const Special& value) {
  const std::size_t width = kind.op == fs::Op::logsumexp ? 1 : n;
  for (std::size_t i = 0; i < width; ++i)
    if (!is(y, kind.dtype, r * width + i, value)) return false;
  return true;
}

bool row_is_finite_but(const Bytes& y, const Kind& kind, std::size_t n, std::size_t r,
                       std::size_t excepted) {
  const std::size_t width = kind.op == fs::Op::logsumexp ? 1 : n;
  for (std::size_t i = 0; i < width; ++i) {
    const auto v = get(kind.dtype, y.data() + (r * width + i) * item_bytes(kind.dtype));
    if (width > 1 && i == excepted) continue;
    if (!std::isfinite(v) || (kind.op == fs::Op::softmax && v <= 0)) return false;
  }
  return true;
}

std::string text(const Kind& kind, std::size_t n, const char* what) {
  return describe(kind.op, kind.dtype, kind.algorithm) + " " + name(kind.layout) +
         " n=" + std::to_string(n) + " " + what;
}

// Row r of the matrix has its special value at positions[r].
void check_positions(Tally& tally, const Kind& kind, std::size_t n,
                     const std::vector<std::size_t>& positions) {
  Random random(n);
  std::vector<double> values(positions.size() * n);
  for (double& v : values) v = random.normal();
  const Bytes base = encode(kind.dtype, values);
  const auto run = [&](const Bytes& x) {
    return run_matrix(kind.op, kind.dtype, static_cast<std::int64_t>(n), x, kind.layout,
                      with(kind.algorithm));
  };
  const auto check = [&](const char* what, auto&& place, auto&& holds) {
    Bytes x = base;
    for (std::size_t r = 0; r < positions.size(); ++r) place(x, r, r * n, positions[r]);
    const Bytes y = run(x);
    bool all = true;
    for (std::size_t r = 0; r < positions.size(); ++r) all &= holds(y, r, positions[r]);
    tally.expect(all, [&] { return text(kind, n, what); });
  };
  const bool lse = kind.op == fs::Op::logsumexp;
  const auto is_nan = [&](const Bytes& y, std::size_t r, std::size_t) {
    return row_is(y, kind, n, r, kNan);
  };
  check(
      "NaN",
      [&](Bytes& x, std::size_t r, std::size_t row, std::size_t p) {
        set(x, kind.dtype, row + p, kNans[r % std::size(kNans)]);
      },
      is_nan);
  check(
      "NaN among -inf",
      [&](Bytes& x, std::size_t, std::size_t row, std::size_t p) {
        for (std::size_t i = 0; i < n; ++i) set(x, kind.dtype, row + i, i == p ? kNan : kMinusInf);
      },
      is_nan);
  check(
      "+inf",
      [&](Bytes& x, std::size_t, std::size_t row, std::size_t p) {
        set(x, kind.dtype, row + p, kPlusInf);
      },
      [&](const Bytes& y, std::size_t r, std::size_t) {
        return row_is(y, kind, n, r, lse ? kPlusInf : kNan);
      });
  if (n == 1) return;
  check(
      "NaN and +inf",
      [&](Bytes& x, std::size_t, std::size_t row, std::size_t p) {
        set(x, kind.dtype, row + p, kNan);
        set(x, kind.dtype, row + (p + 1) % n, kPlusInf);
      },
      is_nan);
  check(
      "-inf",
      [&](Bytes& x, std::size_t, std::size_t row, std::size_t p) {
        set(x, kind.dtype, row + p, kMinusInf);
      },
      [&](const Bytes& y, std::size_t r, std::size_t p) {
        const Special& expected = kind.op == fs::Op::softmax ? kZero : kMinusInf;
        return row_is_finite_but(y, kind, n, r, p) &&
               (lse || is(y, kind.dtype, r * n + p, expected));
      });
}

}  // namespace

TEST_CASE("special values: at every position of short rows") {
  Tally tally;
  for_each_kind([&](const Kind& kind) {
    for (std::size_t n = 1; n <= 70; n += kind.layout == Layout::rows ? 1 : 3) {
      std::vector<std::size_t> positions(n);
      for (std::size_t p = 0; p < n; ++p) positions[p] = p;
      check_positions(tally, kind, n, positions);
    }
  });
  CHECK(tally.checked() == kCases * ((70 + 3 * 24) * 5 - 4 * 2));
}

TEST_CASE("special values: around the edges of blocks, lanes and registers") {
  Tally tally;
  for_each_kind([&](const Kind& kind) {
    const std::size_t block = block_of(kind.dtype);
    for (const std::size_t n : {block - 1, block, 2 * block + 3}) {
      std::vector<std::size_t> positions;
      for (const std::size_t edge :
           {std::size_t{0}, std::size_t{16}, std::size_t{64}, block, 2 * block, n}) {
        for (const std::size_t p : {edge - 1, edge, edge + 1})
          if (p < n) positions.push_back(p);
      }
      check_positions(tally, kind, n, positions);
    }
  });
  CHECK(tally.checked() == kCases * 4 * 3 * 5);
}

// The other rows, columns of the same tile among them, must not notice.
TEST_CASE("special values: stay in their row") {
  Tally tally;
  for_each_kind([&](const Kind& kind) {
    for (const std::size_t n : {std::size_t{5}, std::size_t{70}, block_of(kind.dtype) + 9}) {
      for (const std::size_t rows : {std::size_t{2}, std::size_t{5}, std::size_t{18}}) {
        std::vector<double> values(rows * n);
        Random random(n);
        for (double& v : values) v = random.normal();
        const Bytes x = encode(kind.dtype, values);
        const std::size_t item = item_bytes(kind.dtype);
        for (const Special& special : {kNan, kPlusInf, kMinusInf}) {
          const std::size_t r = n % rows;
          Bytes changed = x;
          for (std::size_t i = 0; i < n; ++i)
            if (&special != &kMinusInf || i > 0) set(changed, kind.dtype, r * n + i, special);
          const auto run = [&](const Bytes& in) {
            return run_matrix(kind.op, kind.dtype, static_cast<std::int64_t>(n), in, kind.layout,
                              with(kind.algorithm));
          };
          Bytes expected = run(x);
          const Bytes actual = run(changed);
          const std::size_t width = (kind.op == fs::Op::logsumexp ? 1 : n) * item;
          std::copy_n(actual.begin() + static_cast<std::ptrdiff_t>(r * width), width,
                      expected.begin() + static_cast<std::ptrdiff_t>(r * width));
          tally.same(kind.dtype, expected, actual, [&] { return text(kind, n, special.name); });
        }
      }
    }
  });
  CHECK(tally.checked() == kCases * 4 * 3 * 3 * 3);
}

TEST_CASE("special values: empty rows") {
  Tally tally;
  for_each_kind([&](const Kind& kind) {
    for (const std::size_t n : {std::size_t{1}, std::size_t{2}, std::size_t{17}, std::size_t{64},
                                std::size_t{300}, block_of(kind.dtype) * 2 + 1}) {
      Bytes x(5 * n * item_bytes(kind.dtype));
      for (std::size_t i = 0; i < 5 * n; ++i) set(x, kind.dtype, i, kMinusInf);
      for (const fs::EmptyRow empty : {fs::EmptyRow::nan, fs::EmptyRow::zero}) {
        for (const bool excluded : {false, true}) {
          fs::Options options = with(kind.algorithm);
          options.empty = empty;
          Bytes in = x;
          const unsigned char no = 0;
          const Shape one = {1, 1};
          const Shape strides = {0, 0};
          if (excluded) {
            for (std::size_t i = 0; i < 5 * n; ++i)
              set(in, kind.dtype, i, i % 3 == 0 ? kNan : kPlusInf);
            options.where = fs::ConstView{&no, fs::DType::boolean, one, strides};
          }
          const Bytes y = run_matrix(kind.op, kind.dtype, static_cast<std::int64_t>(n), in,
                                     kind.layout, options);
          const Special& zero = kind.op == fs::Op::softmax ? kZero : kMinusInf;
          const bool as_nan = empty == fs::EmptyRow::nan && kind.op != fs::Op::logsumexp;
          bool all = true;
          for (std::size_t r = 0; r < 5; ++r) all &= row_is(y, kind, n, r, as_nan ? kNan : zero);
          tally.expect(all, [&] { return text(kind, n, excluded ? "left out" : "all -inf"); });
        }
      }
    }
  });
  CHECK(tally.checked() == kCases * 4 * 6 * 4);
}
