// softmax_backward and log_softmax_backward: values against the formulas in long double, and the
// same bits from every instruction set, layout, batch and number of threads.
#include <algorithm>
#include <cmath>

#include "fastsoftmax/backward.hpp"
#include "fastsoftmax/tune.hpp"
#include "run.h"

using namespace tests;

namespace {

constexpr std::array kBackward = {fs::Op::softmax, fs::Op::log_softmax};
constexpr std::array kAxes = {1};

void backward(fs::Op op, const Array& grad, const Array& y, const fs::View& out,
              const fs::BackwardOptions& options = {}) {
  if (op == fs::Op::softmax)
    fs::softmax_backward(grad.view(), y.view(), out, kAxes, options);
  else
    fs::log_softmax_backward(grad.view(), y.view(), out, kAxes, options);
}

struct Rows {
  fs::DType dtype;
  std::int64_t rows;
  std::int64_t n;
  Bytes grad;
  Bytes y;

  Array lay_out(const Bytes& elements, Layout layout) const {
    Array a = matrix(dtype, rows, n, layout);
    from_dense(a, elements);
    return a;
  }
  Rows row(std::int64_t r) const {
    const auto size = n * fs::itemsize(dtype);
    const auto part = [&](const Bytes& all) {
      return Bytes(all.begin() + r * size, all.begin() + (r + 1) * size);
    };
    return {dtype, 1, n, part(grad), part(y)};
  }
};

// Gradients of every kind of row, and what the operation makes of others.
Rows make_rows(fs::Op op, fs::DType dtype, std::int64_t rows, std::int64_t n, std::uint64_t seed) {
  Random random(seed);
  Rows made{dtype, rows, n, {}, {}};
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto size = static_cast<std::size_t>(n);
    const auto pattern = [&] {
      return make_row(kPatterns[static_cast<std::size_t>(random.below(kPatterns.size()))], dtype,
                      size, random.bits());
    };
    const Bytes grad = pattern();
    const Bytes y = n == 0 ? Bytes() : run_row(op, dtype, pattern());
    made.grad.insert(made.grad.end(), grad.begin(), grad.end());
    made.y.insert(made.y.end(), y.begin(), y.end());
  }
  return made;
}

// Each row as a call of its own, by the reference instruction set.
Bytes expected_of(fs::Op op, const Rows& x, const std::vector<double>& temperatures) {
  const UseIsa reference(fs::Isa::scalar);
  Bytes all;
  for (std::int64_t r = 0; r < x.rows; ++r) {
    const Rows one = x.row(r);
    Array out = dense(x.dtype, {1, x.n});
    fs::BackwardOptions options;
    options.temperature = temperatures[static_cast<std::size_t>(r)];
    options.max_threads = 1;
    backward(op, one.lay_out(one.grad, Layout::rows), one.lay_out(one.y, Layout::rows), out.out(),
             options);
    all.insert(all.end(), out.bytes.begin(), out.bytes.end());
  }
  return all;
}

std::string text(fs::Op op, const Rows& x, const std::string& what) {
  return describe(op, x.dtype, fs::Algorithm::automatic) + " n=" + std::to_string(x.n) + " " + what;
}

void check_layouts(Tally& tally, fs::Op op, const Rows& x, bool with_temperature) {
  std::vector<double> temperatures(static_cast<std::size_t>(x.rows), 1.0);
  fs::BackwardOptions options;
  const Shape shape = {x.rows, 1};
  const Shape strides = {8, 8};
  if (with_temperature) {
    for (std::size_t r = 0; r < temperatures.size(); ++r)
      temperatures[r] = 0.7 + 0.3 * static_cast<double>(r);
    options.temperatures = {temperatures.data(), fs::DType::f64, shape, strides};
  }
  const Bytes expected = expected_of(op, x, temperatures);
  for (const Layout of_grad : kLayouts) {
    for (const Layout of_y : kLayouts) {
      Array grad = x.lay_out(x.grad, of_grad);
      Array y = x.lay_out(x.y, of_y);
      Array out = matrix(x.dtype, x.rows, x.n, of_y == Layout::columns ? of_grad : Layout::rows);
      backward(op, grad, y, out.out(), options);
      const auto where = [&](const char* to) {
        return text(op, x, std::string(name(of_grad)) + ", " + name(of_y) + to);
      };
      tally.same(x.dtype, expected, to_dense(out), [&] { return where(" to another"); });
      if (of_grad == of_y) {
        Array kept = grad;
        backward(op, grad, y, grad.out(), options);
        tally.same(x.dtype, expected, to_dense(grad), [&] { return where(" to grad"); });
        backward(op, kept, y, y.out(), options);
        tally.same(x.dtype, expected, to_dense(y), [&] { return where(" to y"); });
      }
    }
  }
}

struct Reference {
  long double value;
  long double scale;  // of the error that the sum's and e^y's make
};

// Twice the precision of the sum of `terms`.
long double sum_of(const std::vector<long double>& terms) {
  long double sum = 0;
  long double lost = 0;
  for (const long double term : terms) {
    const long double larger = sum + term;
    lost += std::fabs(sum) >= std::fabs(term) ? (sum - larger) + term : (term - larger) + sum;
    sum = larger;
  }
  return sum + lost;
}

std::vector<Reference> reference_of(fs::Op op, const Rows& x, long double temperature) {
  const auto item = item_bytes(x.dtype);
  const auto n = static_cast<std::size_t>(x.n);
  std::vector<long double> terms(n);
  long double size = 0;
  const auto g = [&](std::size_t i) { return get(x.dtype, &x.grad[i * item]); };
  const auto y = [&](std::size_t i) { return get(x.dtype, &x.y[i * item]); };
  for (std::size_t i = 0; i < n; ++i) {
    terms[i] = op == fs::Op::softmax ? g(i) * y(i) : g(i);
    size += std::fabs(terms[i]);
  }
  const long double sum = sum_of(terms);
  std::vector<Reference> result(n);
  for (std::size_t i = 0; i < n; ++i) {
    const bool f64 = x.dtype == fs::DType::f64;
    const long double u = f64 ? 0x1p-53L : 0x1p-24L;
    if (op == fs::Op::softmax)
      result[i] = {y(i) * (g(i) - sum) / temperature,
                   y(i) * size * (f64 ? 0x1p-62L : 0x1p-47L) / temperature};
    else
      result[i] = {
          (g(i) - std::exp(y(i)) * sum) / temperature,
          std::exp(y(i)) * (2.3L * u * std::fabs(sum) + 0x1p-47L * u * size) / temperature};
  }
  return result;
}

}  // namespace

TEST_CASE("backward: the same bits from every layout as from single rows of the scalar kernels") {
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    for (const fs::Op op : kBackward) {
      std::vector<std::int64_t> lengths;
      for (std::int64_t n = 0; n <= 300; n += n < 70 ? 1 : 7) lengths.push_back(n);
      for (const std::int64_t n : {block - 1, block, block + 1, 2 * block + 63, 3 * block})
        lengths.push_back(n);
      for (const std::int64_t n : lengths)
        check_layouts(tally, op, make_rows(op, dtype, 3, n, static_cast<std::uint64_t>(n)),
                      n % 3 == 0);
    }
  }
  CHECK(tally.checked() > 10'000);
  CHECK(tally.failed() == 0);
}

TEST_CASE("backward: the same bits from columns, tiles of them whole and in part") {
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    for (const fs::Op op : kBackward) {
      for (const std::int64_t n : {2, 7, 8, 41, 64, 1030})
        check_layouts(tally, op, make_rows(op, dtype, 85, n, static_cast<std::uint64_t>(n)),
                      n % 2 == 1);
    }
  }
  CHECK(tally.checked() > 1'000);
  CHECK(tally.failed() == 0);
}

TEST_CASE("backward: the same bits from any number of threads and with streaming stores") {
  const int before = fs::num_threads();
  const fs::PlanConstants constants = fs::machine().constants;
  fs::PlanConstants streaming = constants;
  streaming.stream_bytes = 1 << 16;
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    for (const fs::Op op : kBackward) {
      for (const auto& [rows, n] :
           {std::pair<std::int64_t, std::int64_t>{2, 300'001}, {320, 1500}}) {
        const Rows x = make_rows(op, dtype, rows, n, 5);
        const Bytes expected =
            expected_of(op, x, std::vector<double>(static_cast<std::size_t>(rows), 1.0));
        for (const Layout layout : {Layout::rows, Layout::columns}) {
          const Array grad = x.lay_out(x.grad, layout);
          const Array y = x.lay_out(x.y, layout);
          for (const int threads : {1, 2, 5}) {
            fs::set_num_threads(threads);
            // On and off the boundary that streaming stores need, wherever the memory begins.
            for (const std::size_t offset : {std::size_t{0}, std::size_t{48}, item_bytes(dtype)}) {
              fs::use_constants(offset > 0 ? streaming : constants);
              Array out = strided(dtype, {rows, n}, grad.strides, offset);
              backward(op, grad, y, out.out());
              tally.same(dtype, expected, to_dense(out), [&] {
                return text(op, x,
                            std::string(name(layout)) + ", " + std::to_string(threads) +
                                " threads, offset " + std::to_string(offset));
              });
            }
          }
        }
      }
    }
  }
  fs::set_num_threads(before);
  fs::use_constants(constants);
  CHECK(tally.checked() == 4 * 2 * 2 * 2 * 3 * 3);
  CHECK(tally.failed() == 0);
}

TEST_CASE("backward: within the bounds of the header") {
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    const bool f64 = dtype == fs::DType::f64;
    const bool half = dtype == fs::DType::f16 || dtype == fs::DType::bf16;
    const long double u = f64 ? 0x1p-53L : 0x1p-24L;
    const long double rounding = half ? (dtype == fs::DType::f16 ? 0x1p-11L : 0x1p-8L) : 0.0L;
    const long double smallest =
        dtype == fs::DType::f16 ? 0x1p-24L : (f64 ? 0x1p-1074L : 0x1p-133L);
    for (const fs::Op op : kBackward) {
      for (const std::int64_t n : {1, 2, 10, 100, 1000, 1500}) {
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
          Random random(seed);
          const auto size = static_cast<std::size_t>(n);
          std::vector<double> grad(size);
          std::vector<double> scores(size);
          // The larger the scale, the more one element dominates.
          const double scale = seed % 2 == 0 ? 1.0 : 10.0;
          const double offset = seed % 4 < 2 ? 0.0 : (dtype == fs::DType::f16 ? 5.0 : 1000.0);
          for (double& g : grad) g = random.normal() + offset;
          for (double& s : scores) s = scale * random.normal();
          const Rows x{dtype, 1, n, encode(dtype, grad), run_row(op, dtype, encode(dtype, scores))};
          const float temperature = seed % 3 == 0 ? 1.0F : 0.75F;
          const auto exact = reference_of(op, x, static_cast<long double>(temperature));
          Array out = dense(dtype, {1, n});
          fs::BackwardOptions options;
          options.temperature = static_cast<double>(temperature);
          backward(op, x.lay_out(x.grad, Layout::rows), x.lay_out(x.y, Layout::rows), out.out(),
                   options);
          const long double own = op == fs::Op::softmax ? (seed % 3 == 0 ? 3 * u : 4 * u) : 2 * u;
          for (std::size_t i = 0; i < size; ++i) {
            const long double got = get(dtype, &out.bytes[i * item_bytes(dtype)]);
            const long double error = 1.0001L * own * std::fabs(exact[i].value) + exact[i].scale;
            const long double limit =
                error + rounding * (std::fabs(exact[i].value) + error) + smallest;
            tally.expect(std::fabs(got - exact[i].value) <= limit, [&] {
              return text(op, x,
                          "element " + std::to_string(i) + ": " +
                              std::to_string(static_cast<double>(got)) + " instead of " +
                              std::to_string(static_cast<double>(exact[i].value)));
            });
          }
        }
      }
    }
  }
  CHECK(tally.failed() == 0);
}

TEST_CASE("backward: special values as the formulas have them") {
  constexpr double inf = std::numeric_limits<double>::infinity();
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  struct Case {
    fs::Op op;
    std::vector<double> grad, y, expected;
  };
  const Case cases[] = {
      {fs::Op::softmax, {nan, 1, 1}, {0.5, 0.5, 0}, {nan, nan, nan}},
      {fs::Op::softmax, {1, 2, 3}, {0.5, nan, 0.5}, {nan, nan, nan}},
      {fs::Op::softmax, {inf, 1, 1}, {0, 0.5, 0.5}, {nan, nan, nan}},
      {fs::Op::softmax, {inf, 1, 1}, {0.5, 0.5, 0}, {nan, -inf, nan}},
      {fs::Op::softmax, {-inf, inf, 1}, {0.5, 0.5, 0}, {nan, nan, nan}},
      {fs::Op::softmax, {4, 2, 9}, {0.5, 0.5, 0}, {0.5, -0.5, 0}},
      {fs::Op::log_softmax, {1, 2, 3}, {0, -inf, -inf}, {-5, 2, 3}},
      {fs::Op::log_softmax, {inf, 2, 3}, {0, -1, -inf}, {nan, -inf, nan}},
      {fs::Op::log_softmax, {nan, 2, 3}, {0, -1, -1}, {nan, nan, nan}},
      {fs::Op::log_softmax, {1, 2, 3}, {nan, 0, -inf}, {nan, -4, 3}},
      {fs::Op::log_softmax, {1, 2, 3}, {inf, 1e4, -1e4}, {-inf, -inf, 3}},
      {fs::Op::log_softmax, {0, 0, 1}, {-800, -1000, 0}, {0, 0, 0}},
  };
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    for (const Case& c : cases) {
      const auto bytes = [&](const std::vector<double>& values) {
        Bytes all(values.size() * item_bytes(dtype));
        for (std::size_t i = 0; i < values.size(); ++i)
          put(dtype, &all[i * item_bytes(dtype)], values[i]);
        return all;
      };
      Array out = dense(dtype, {1, 3});
      backward(c.op, dense(dtype, {1, 3}, bytes(c.grad)), dense(dtype, {1, 3}, bytes(c.y)),
               out.out());
      // NaN included, whose bits are those of the quiet one.
      Bytes got = out.bytes;
      for (std::size_t i = 0; i < 3; ++i) {
        if (c.expected[i] == 0 && get(dtype, &got[i * item_bytes(dtype)]) == 0)
          put(dtype, &got[i * item_bytes(dtype)], 0.0);  // of either sign
      }
      tally.same(dtype, bytes(c.expected), got,
                 [&] { return describe(c.op, dtype, fs::Algorithm::automatic); });
    }
  }
  CHECK(tally.failed() == 0);
}

TEST_CASE("backward: e^y keeps normal numbers and flushes the others") {
  // g = 0 but for the last element, whose y of -inf makes it no part of the rest: dx = -e^y.
  const auto exponential = [](auto y) {
    using T = decltype(y);
    constexpr fs::DType dtype = sizeof(T) == 4 ? fs::DType::f32 : fs::DType::f64;
    const std::array<T, 2> grads = {0, 1};
    const std::array<T, 2> outputs = {y, -std::numeric_limits<T>::infinity()};
    Array grad = dense(dtype, {1, 2});
    Array output = grad;
    Array out = grad;
    std::memcpy(grad.bytes.data(), grads.data(), sizeof grads);
    std::memcpy(output.bytes.data(), outputs.data(), sizeof outputs);
    backward(fs::Op::log_softmax, grad, output, out.out());
    return -load<T>(out.bytes.data());
  };
  CHECK(exponential(-0x1.5d589ep+6F) >= 0x1p-126F);  // the first one that is normal
  CHECK(exponential(-0x1.5d58ap+6F) == 0.0F);
  CHECK(exponential(88.25F) == doctest::Approx(std::exp(88.25)));
  CHECK(exponential(88.625F) == std::numeric_limits<float>::infinity());
  CHECK(exponential(-0x1.6232bdd7abcd2p+9) >= 0x1p-1022);
  CHECK(exponential(-0x1.6232bdd7abcd3p+9) == 0.0);
  CHECK(exponential(709.25) == doctest::Approx(std::exp(709.25)));
  CHECK(exponential(709.625) == std::numeric_limits<double>::infinity());
}

TEST_CASE("backward: what it refuses") {
  Array grad = dense(fs::DType::f32, {2, 3});
  const Array y = grad;
  Array out = grad;
  const Array longer = dense(fs::DType::f32, {2, 4});
  const Array wide = dense(fs::DType::f64, {2, 3});
  for (const fs::Op op : kBackward) {
    CHECK_THROWS_AS(backward(op, grad, longer, out.out()), fs::InvalidArgument);
    CHECK_THROWS_AS(backward(op, grad, wide, out.out()), fs::InvalidType);
    CHECK_THROWS_AS(backward(op, wide, wide, out.out()), fs::InvalidType);
    CHECK_THROWS_AS(backward(op, longer, longer, out.out()), fs::InvalidArgument);
    fs::View shifted = grad.out();
    const Shape reversed = {12, -4};
    shifted.data = grad.bytes.data() + 8;
    shifted.strides = reversed;
    CHECK_THROWS_AS(backward(op, grad, y, shifted), fs::InvalidArgument);
    CHECK_THROWS_AS(backward(op, y, grad, shifted), fs::InvalidArgument);
    fs::View nothing = out.out();
    nothing.data = nullptr;
    CHECK_THROWS_AS(backward(op, grad, y, nothing), fs::InvalidArgument);
    fs::BackwardOptions options;
    options.temperature = 0;
    CHECK_THROWS_AS(backward(op, grad, y, out.out(), options), fs::InvalidArgument);
    options.temperature = 1;
    options.max_threads = -1;
    CHECK_THROWS_AS(backward(op, grad, y, out.out(), options), fs::InvalidArgument);
    const std::array outside = {2};
    CHECK_THROWS_AS(fs::softmax_backward(grad.view(), y.view(), out.out(), outside),
                    fs::InvalidAxis);
  }
}
