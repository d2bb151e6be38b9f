// What a project that uses the library does with it: one contiguous row through spans, columns of
// a row-major matrix through strided views, an error by its type. Returns 0 where all is right.
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string_view>
#include <vector>

#include "fastsoftmax/plan.hpp"
#include "fastsoftmax/runtime.hpp"
#include "fastsoftmax/softmax.hpp"
#include "fastsoftmax/version.h"

namespace {

int failures = 0;

void expect(bool condition, const char* what) {
  if (!condition) {
    std::printf("FAILED: %s\n", what);
    ++failures;
  }
}

bool near(double a, double b, double tolerance) { return std::fabs(a - b) <= tolerance; }

void check_spans() {
  const std::array<float, 4> x{1.0F, 2.0F, 3.0F, 4.0F};
  std::array<float, 4> y{};
  fastsoftmax::softmax(x, y);
  const std::array<double, 4> expected{0.03205860328, 0.08714431874, 0.23688281808, 0.64391425989};
  for (std::size_t i = 0; i < y.size(); ++i) {
    expect(near(y[i], expected[i], 1e-7), "softmax of a span");
  }
  const std::array<double, 3> z{1000.0, 1000.0, 1000.0};
  std::array<double, 3> log_y{};
  fastsoftmax::log_softmax(z, log_y);
  expect(near(log_y[0], -std::log(3.0), 1e-15), "log_softmax of a span");
  expect(near(fastsoftmax::logsumexp(z), 1000.0 + std::log(3.0), 1e-12), "logsumexp of a span");
}

// Softmax over axis 0 of every second column of a 3 x 8 matrix, in place.
void check_strided_views() {
  constexpr std::int64_t rows = 3;
  constexpr std::int64_t columns = 8;
  std::vector<float> matrix(rows * columns);
  for (std::size_t i = 0; i < matrix.size(); ++i) {
    matrix[i] = 0.25F * static_cast<float>(i);
  }
  const std::vector<float> before = matrix;
  const std::array<std::int64_t, 2> shape{rows, columns / 2};
  const std::array<std::int64_t, 2> strides{columns * 4, 2 * 4};
  const fastsoftmax::ConstView x{matrix.data(), fastsoftmax::DType::f32, shape, strides, false};
  const fastsoftmax::View out{matrix.data(), fastsoftmax::DType::f32, shape, strides, false};
  const std::array<int, 1> axes{0};
  fastsoftmax::softmax(x, out, axes);
  for (std::size_t c = 0; c < columns; ++c) {
    if (c % 2 == 1) {
      expect(matrix[c] == before[c], "a column outside the view is untouched");
      continue;
    }
    // The elements of a column lie 2 apart: 1 : e^2 : e^4.
    const double sum = 1.0 + std::exp(2.0) + std::exp(4.0);
    for (std::size_t r = 0; r < rows; ++r) {
      expect(near(matrix[r * columns + c], std::exp(2.0 * static_cast<double>(r)) / sum, 1e-6),
             "softmax over a strided axis");
    }
  }
  const fastsoftmax::Plan plan = fastsoftmax::explain(fastsoftmax::Op::softmax, x, out, axes);
  expect(!plan.reason().empty() && plan.threads >= 1, "a plan with its reasons");
}

void check_errors() {
  const std::array<float, 2> x{};
  std::array<float, 3> y{};
  bool thrown = false;
  try {
    fastsoftmax::softmax(x, y);
  } catch (const fastsoftmax::InvalidArgument&) {
    thrown = true;
  }
  expect(thrown, "spans of different lengths throw InvalidArgument");
}

}  // namespace

int main() {
  expect(std::string_view{fastsoftmax::version()} == FASTSOFTMAX_VERSION,
         "header and library have one version");
  check_spans();
  check_strided_views();
  check_errors();
  if (failures == 0) {
    const auto isa = fastsoftmax::name(fastsoftmax::isa_in_use());
    std::printf("consumer: all right with fastsoftmax %s on %.*s\n", fastsoftmax::version(),
                static_cast<int>(isa.size()), isa.data());
  }
  return failures == 0 ? 0 : 1;
}
