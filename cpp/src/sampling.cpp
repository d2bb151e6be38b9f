#include "fastsoftmax/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <string>

#include "axis_call.h"
#include "sampling_call.h"

namespace fastsoftmax {
namespace {

// x and the mask as a call; its length along the axis must be positive.
TopkCall rows_of(const ConstView& x, int axis, const std::optional<ConstView>& where,
                 int max_threads) {
  Options core;
  core.where = where;
  core.max_threads = max_threads;
  TopkCall rows;
  rows.call = axis_call(x, axis, core);
  rows.k = 1;
  if (rows.call.row_length == 0)
    throw InvalidArgument("cannot sample along an axis of length 0 (x has shape " +
                          shape_text(x.shape) + ")");
  for (std::size_t d = axis_of(x, axis) + 1; d < x.shape.size(); ++d) rows.inner *= x.shape[d];
  return rows;
}

DrawCall draw_call(const ConstView& x, int axis, const PerRow<double>& temperature,
                   const std::optional<ConstView>& where, const RandomSource& random,
                   bool zero_allowed, int max_threads) {
  TopkCall rows = rows_of(x, axis, where, max_threads);
  const DType dtype = rows.call.row_dtype;
  const auto valid = [&](double t) {
    return (zero_allowed && t == 0.0) || is_valid_temperature(t, dtype);
  };
  const char* const must_be = zero_allowed ? "positive and finite as the arithmetic type, or 0"
                                           : "positive and finite as the arithmetic type";
  return {rows, {temperature, "temperature", x, axis, must_be, valid}, {random, x, axis}};
}

// Throws unless an output is as it should be and apart from all inputs.
void check_outputs(const View& out, const char* name, DType dtype, const ConstView& x, int axis,
                   std::int64_t length, const std::optional<ConstView>& where,
                   const RandomSource& random,
                   std::initializer_list<const std::optional<ConstView>*> others) {
  check_axis_output(out, name, dtype, x, axis, length);
  check_apart(out, name, {&x});
  const auto check = [&](const std::optional<ConstView>& input) {
    if (input) check_apart(out, name, {&*input});
  };
  check(where);
  check(random.seed.values);
  check(random.position.values);
  if (random.row_ids) check(random.row_ids->values);
  for (const auto* other : others) check(*other);
}

}  // namespace

RowRandom::RowRandom(const RandomSource& source, const ConstView& x, int axis)
    : seed_(source.seed, "seed", x, axis, "a number", [](std::uint64_t) { return true; }),
      position_(source.position, "position", x, axis, "below 2**32",
                [](std::uint64_t p) { return p < std::uint64_t{1} << 32; }) {
  if (source.row_ids)
    id_.emplace(*source.row_ids, "row_ids", x, axis, "a number",
                [](std::uint64_t) { return true; });
}

kernels::RandomStream RowRandom::operator()(std::int64_t row) const {
  const std::uint64_t seed = seed_(row);
  const std::uint64_t id = id_ ? (*id_)(row) : static_cast<std::uint64_t>(row);
  const auto low = [](std::uint64_t v) { return static_cast<std::uint32_t>(v); };
  return {{low(seed), low(seed >> 32)}, low(position_(row)), {low(id), low(id >> 32)}};
}

SampleCall sample_call(const ConstView& x, int axis, const SampleOptions& o) {
  DrawCall draw = draw_call(x, axis, o.temperature, o.where, o.random, true, o.max_threads);
  const auto share = [](double p) { return p >= 0.0 && p <= 1.0; };
  const auto not_negative = [](double v) { return v >= 0.0; };
  const std::int64_t length = draw.rows.call.row_length;
  std::int64_t most_k = 1;
  const auto valid_k = [&](std::int64_t k) {
    most_k = std::max(most_k, k < length ? k : 0);
    return k >= 0;
  };
  SampleCall call{draw,
                  {o.top_k, "top_k", x, axis, "0 or more", valid_k},
                  {o.top_p, "top_p", x, axis, "from 0 to 1", share},
                  {o.min_p, "min_p", x, axis, "from 0 to 1", share},
                  {o.typical_p, "typical_p", x, axis, "from 0 to 1", share},
                  {o.top_n_sigma, "top_n_sigma", x, axis, "0 or more", not_negative},
                  {o.max_surprise, "max_surprise", x, axis, "a number",
                   [](double v) { return !std::isnan(v); }},
                  false,
                  1,
                  nullptr,
                  nullptr,
                  draw.rows.call.row_dtype};
  call.most_k = most_k;
  call.may_filter = o.top_p.values || o.min_p.values || o.typical_p.values ||
                    o.top_n_sigma.values || o.max_surprise.values || o.top_p.value < 1.0 ||
                    o.min_p.value > 0.0 || o.typical_p.value < 1.0 || o.top_n_sigma.value > 0.0 ||
                    o.max_surprise.value < std::numeric_limits<double>::infinity();
  return call;
}

void check_sample_output(const View& out, const char* name, DType dtype, const ConstView& x,
                         int axis, const SampleOptions& o) {
  check_outputs(out, name, dtype, x, axis, 1, o.where, o.random,
                {&o.temperature.values, &o.top_k.values, &o.top_p.values, &o.min_p.values,
                 &o.typical_p.values, &o.top_n_sigma.values, &o.max_surprise.values});
}

void sample(const ConstView& x, int axis, const View& indices, const SampleOptions& o,
            const View* logprobs) {
  SampleCall call = sample_call(x, axis, o);
  check_sample_output(indices, "indices", DType::i64, x, axis, o);
  call.indices = static_cast<std::int64_t*>(indices.data);
  if (logprobs != nullptr) {
    check_sample_output(*logprobs, "logprobs", call.logprobs_dtype, x, axis, o);
    const ConstView taken = as_input(indices);
    check_apart(*logprobs, "logprobs", {&taken});
    call.logprobs = static_cast<char*>(logprobs->data);
  }
  if (call.draw.rows.call.rows > 0) execute(call, o.max_threads);
}

void gumbel_topk(const ConstView& x, std::int64_t k, int axis, const View& values,
                 const View& indices, const GumbelTopKOptions& o) {
  DrawCall call = draw_call(x, axis, o.temperature, o.where, o.random, false, o.max_threads);
  const std::int64_t length = call.rows.call.row_length;
  if (k < 0 || k > length)
    throw InvalidArgument("k must be from 0 to the length of the rows, " + std::to_string(length) +
                          ", got " + std::to_string(k));
  if (k >= std::int64_t{1} << 31) throw InvalidArgument("k must be below 2**31");
  const auto check = [&](const View& out, const char* name, DType dtype) {
    check_outputs(out, name, dtype, x, axis, k, o.where, o.random, {&o.temperature.values});
  };
  check(values, "values", call.rows.call.row_dtype);
  check(indices, "indices", DType::i64);
  const ConstView taken = as_input(values);
  check_apart(indices, "indices", {&taken});
  call.rows.k = k;
  call.rows.values_dtype = values.dtype;
  call.rows.values = static_cast<char*>(values.data);
  call.rows.indices = static_cast<char*>(indices.data);
  if (call.rows.call.rows > 0 && k > 0) execute(call, o.max_threads);
}

}  // namespace fastsoftmax
