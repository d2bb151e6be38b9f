// The last layer of a classifier, its products by BLAS. Returns 0 where all is right.
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>

#include "fastsoftmax/blas.hpp"
#include "fastsoftmax/linear_cross_entropy.hpp"

namespace fs = fastsoftmax;

int main() {
  const std::array<float, 4> x{1.0F, 2.0F, 3.0F, 4.0F};
  const std::array<float, 6> w{};
  const std::array<std::int64_t, 2> targets{0, 2};
  const std::array<std::int64_t, 2> x_shape{2, 2};
  const std::array<std::int64_t, 2> w_shape{3, 2};
  const std::array<std::int64_t, 2> strides{8, 4};
  const std::array<std::int64_t, 1> rows{2};
  const std::array<std::int64_t, 1> row_strides{8};
  float loss = 0.0F;
  std::array<float, 6> grad{};
  fs::LinearLayer layer;
  layer.x = {x.data(), fs::DType::f32, x_shape, strides};
  layer.w = {w.data(), fs::DType::f32, w_shape, strides};
  layer.matmul = fs::blas_matmul();
  fs::LinearCrossEntropyOutputs out;
  out.loss = {&loss, fs::DType::f32, {}, {}};
  out.grad_w = {grad.data(), fs::DType::f32, w_shape, strides};
  fs::linear_cross_entropy(layer, {targets.data(), fs::DType::i64, rows, row_strides}, out);
  // The mean over rows of (1/3 - [target]) x.
  const std::array<float, 6> expected{1.0F / 6, 0.0F, 2.0F / 3, 1.0F, -5.0F / 6, -1.0F};
  bool right = std::fabs(loss - std::log(3.0F)) < 1e-6F;
  for (std::size_t i = 0; i < grad.size(); ++i)
    right = right && std::fabs(grad[i] - expected[i]) < 1e-6F;
  if (!right) std::puts("FAILED: linear_cross_entropy by BLAS");
  return right ? 0 : 1;
}
