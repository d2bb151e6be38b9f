// One value for each row, read on the device.
#pragma once

#include "cuda/element.h"
#include "cuda/sample_desk.h"
#include "kernels/row.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

FASTSOFTMAX_HD inline char* place_of(const RowPlaces& places, std::int64_t row) {
  char* at = places.data;
  FASTSOFTMAX_ROLLED
  for (int d = places.count - 1; d >= 0; --d) {
    const RowPlaces::Axis& axis = places.axis[d];
    std::int64_t i = row;
    if (d > 0) {
      row /= axis.size;
      i -= row * axis.size;
    }
    at += i * axis.stride;
  }
  return at;
}

FASTSOFTMAX_HD [[gnu::noinline]] inline double real_of(const RowOption& option, std::int64_t row) {
  if (option.values.data == nullptr) return option.real;
  double value = 0.0;
  with_element(option.dtype, place_of(option.values, row),
               [&](auto element) { value = static_cast<double>(element); });
  return value;
}
// Negative numbers clear `valid`.
FASTSOFTMAX_HD [[gnu::noinline]] inline std::uint64_t integer_of(const RowOption& option,
                                                                 std::int64_t row, bool& valid) {
  if (option.values.data == nullptr) return option.integer;
  std::uint64_t value = 0;
  with_element(option.dtype, place_of(option.values, row), [&](auto element) {
    if (static_cast<double>(element) < 0.0) valid = false;
    value = static_cast<std::uint64_t>(element);
  });
  return value;
}

// T: the arithmetic type, which must be able to hold the temperature.
template <class T>
FASTSOFTMAX_HD inline void read_options(const SampleParameters& call, std::int64_t row,
                                        SampleDesk& desk) {
  const SampleRowOptions& options = call.options;
  const auto share = [](double p) { return p >= 0.0 && p <= 1.0; };
  kernels::SampleRow how{};
  how.top_p = real_of(options.top_p, row);
  how.min_p = real_of(options.min_p, row);
  how.typical_p = real_of(options.typical_p, row);
  how.top_n_sigma = real_of(options.top_n_sigma, row);
  how.max_surprise = __builtin_inf();
  const double temperature = real_of(options.temperature, row);
  const T rounded = static_cast<T>(temperature);
  desk.valid = share(how.top_p) && share(how.min_p) && share(how.typical_p) &&
               how.top_n_sigma >= 0.0 &&
               (temperature == 0.0 || (rounded > T(0) && rounded < infinity<T>()));
  const std::uint64_t seed = integer_of(options.seed, row, desk.valid);
  const std::uint64_t position = integer_of(options.position, row, desk.valid);
  const std::uint64_t id = options.numbered ? static_cast<std::uint64_t>(row)
                                            : integer_of(options.row_ids, row, desk.valid);
  if (position >= std::uint64_t{1} << 32) desk.valid = false;
  // Memory is for most_k, should the array change meanwhile.
  const std::uint64_t top_k = integer_of(options.top_k, row, desk.valid);
  const auto most_k = static_cast<std::uint64_t>(call.most_k);
  if (top_k < static_cast<std::uint64_t>(call.length))
    how.top_k = static_cast<std::int64_t>(top_k < most_k ? top_k : most_k);
  const auto low = [](std::uint64_t v) { return static_cast<std::uint32_t>(v); };
  how.random = {{low(seed), low(seed >> 32)}, low(position), {low(id), low(id >> 32)}};
  desk.how = how;
  desk.greedy = temperature == 0.0;
  desk.temperature = desk.greedy ? 1.0 : temperature;
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
