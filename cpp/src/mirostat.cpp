#include <array>
#include <cmath>
#include <numbers>
#include <string>

#include "axis_call.h"
#include "fastsoftmax/sampling.hpp"
#include "sampling_call.h"

#define FASTSOFTMAX_ISA baseline
#include "simd/vec_common.h"

namespace fastsoftmax {
namespace {

constexpr std::int64_t kMostRows = std::int64_t{1} << 40;

}  // namespace

Mirostat::Mirostat(double tau, double eta, std::int64_t rows) : tau_(tau), eta_(eta) {
  const auto check = [](double value, const char* name) {
    if (!(value > 0.0) || !std::isfinite(value))
      throw InvalidArgument(std::string(name) + " must be positive and finite, got " +
                            number_text(value));
  };
  check(tau, "tau");
  check(eta, "eta");
  if (rows < 0 || rows > kMostRows)
    throw InvalidArgument("rows must be from 0 to 2**40, got " + std::to_string(rows));
  mu_.resize(static_cast<std::size_t>(rows));
  reset();
}

void Mirostat::reset() { mu_.assign(mu_.size(), 2.0 * tau_); }

void Mirostat::sample(const ConstView& x, int axis, const View& indices,
                      const SampleOptions& options) {
  const baseline::DefaultFloatEnvironment environment;
  const auto ndim = x.shape.size();
  const std::size_t at = axis_of(x, axis);
  std::int64_t rows = 1;
  std::array<std::int64_t, kMaxDims> shape{};
  std::array<std::int64_t, kMaxDims> strides{};
  if (ndim <= kMaxDims && at < ndim) {
    for (std::size_t d = ndim; d-- > 0;) {
      shape[d] = d == at ? 1 : x.shape[d];
      strides[d] = rows * static_cast<std::int64_t>(sizeof(double));
      rows *= shape[d];
    }
    if (rows != static_cast<std::int64_t>(mu_.size()))
      throw InvalidArgument("x has " + std::to_string(rows) + " rows, but this Mirostat has " +
                            std::to_string(mu_.size()));
  }
  SampleOptions truncated = options;
  truncated.max_surprise.values =
      ConstView{mu_.data(), DType::f64, {shape.data(), ndim}, {strides.data(), ndim}};
  SampleCall call = sample_call(x, axis, truncated);
  const bool single = call.logprobs_dtype != DType::f64;
  call.logprobs_dtype = single ? DType::f32 : DType::f64;
  std::vector<float> singles(single ? mu_.size() : 0);
  std::vector<double> doubles(single ? 0 : mu_.size());
  call.logprobs =
      single ? reinterpret_cast<char*>(singles.data()) : reinterpret_cast<char*>(doubles.data());
  check_sample_output(indices, "indices", DType::i64, x, axis, options);
  call.indices = static_cast<std::int64_t*>(indices.data);
  if (rows > 0) execute(call, options.max_threads);
  for (std::size_t r = 0; r < mu_.size(); ++r) {
    const double surprise =
        -(single ? static_cast<double>(singles[r]) : doubles[r]) / std::numbers::ln2;
    const double next = mu_[r] - eta_ * (surprise - tau_);
    if (!std::isnan(next)) mu_[r] = next;
  }
}

}  // namespace fastsoftmax
