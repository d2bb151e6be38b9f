// sample on a device.
#include "fastsoftmax/cuda_sample.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "axis_call.h"
#include "cuda/device_call.h"
#include "cuda/loader.h"
#include "cuda/sample_host.h"

namespace fastsoftmax::cuda {
namespace {

// What broadcasts to the rows of x, which are those without `axis`.
RowPlaces places_of(const ConstView& view, const ConstView& x, int axis, const char* what) {
  check_view(view, what);
  std::array<std::int64_t, kMaxDims> strides{};
  broadcast(view, x.shape, what, strides);
  check_elements(view, what);
  std::array<bool, kMaxDims> reduced{};
  const std::size_t at = axis_of(x, axis);
  reduced[at] = true;
  check_per_row(view, x.shape, reduced, what);
  RowPlaces places{};
  places.data = static_cast<char*>(const_cast<void*>(view.data));
  for (std::size_t d = 0; d < x.shape.size(); ++d) {
    if (d == at || x.shape[d] == 1) continue;
    RowPlaces::Axis* const last = places.count > 0 ? &places.axis[places.count - 1] : nullptr;
    if (last != nullptr && last->stride == x.shape[d] * strides[d]) {
      *last = {last->size * x.shape[d], strides[d]};
      continue;
    }
    if (places.count == kMaxAxes)
      throw InvalidArgument(std::string(what) + " on a GPU may have at most " +
                            std::to_string(kMaxAxes) + " axes that cannot be walked as one");
    places.axis[places.count++] = {x.shape[d], strides[d]};
  }
  return places;
}

// Options of the rows of x.
struct OptionsReader {
  const ConstView& x;
  int axis;

  template <class T, class Valid>
  RowOption operator()(const PerRow<T>& option, const char* what, const char* must_be,
                       Valid valid) const {
    RowOption read{};
    if (option.values) {
      const DType dtype = option.values->dtype;
      if (dtype == DType::boolean || (!std::is_same_v<T, double> && is_floating(dtype)))
        throw InvalidType(std::string(what) + " must not be an array of " +
                          std::string(name(dtype)));
      read.values = places_of(*option.values, x, axis, what);
      read.dtype = dtype;
    } else if (!valid(option.value)) {
      std::string given;
      if constexpr (std::is_same_v<T, double>)
        given = number_text(option.value);
      else
        given = std::to_string(option.value);
      throw InvalidArgument(std::string(what) + " must be " + must_be + ", got " + given);
    }
    read.real = static_cast<double>(option.value);
    read.integer = static_cast<std::uint64_t>(option.value);
    return read;
  }
};

SampleRowOptions row_options(const ConstView& x, int axis, const SampleOptions& o) {
  const OptionsReader read{x, axis};
  const auto any = [](std::uint64_t) { return true; };
  const auto share = [](double p) { return p >= 0.0 && p <= 1.0; };
  const auto temperature = [&](double t) { return t == 0.0 || is_valid_temperature(t, x.dtype); };
  SampleRowOptions options{};
  options.temperature = read(o.temperature, "temperature",
                             "positive and finite as the arithmetic type, or 0", temperature);
  options.top_k = read(o.top_k, "top_k", "0 or more", [](std::int64_t k) { return k >= 0; });
  options.top_p = read(o.top_p, "top_p", "from 0 to 1", share);
  options.min_p = read(o.min_p, "min_p", "from 0 to 1", share);
  options.typical_p = read(o.typical_p, "typical_p", "from 0 to 1", share);
  options.top_n_sigma =
      read(o.top_n_sigma, "top_n_sigma", "0 or more", [](double v) { return v >= 0.0; });
  options.seed = read(o.random.seed, "seed", "a number", any);
  options.position = read(o.random.position, "position", "below 2**32",
                          [](std::uint64_t p) { return p < std::uint64_t{1} << 32; });
  options.numbered = !o.random.row_ids.has_value();
  if (o.random.row_ids) options.row_ids = read(*o.random.row_ids, "row_ids", "a number", any);
  return options;
}

RowPlaces output_places(const View& out, const char* what, DType dtype, const ConstView& x,
                        int axis, const SampleOptions& o) {
  if (out.dtype != dtype)
    throw InvalidType(std::string(what) + " has dtype " + std::string(name(out.dtype)) +
                      ", expected " + std::string(name(dtype)));
  bool fits = out.shape.size() == x.shape.size();
  for (std::size_t d = 0; fits && d < x.shape.size(); ++d)
    fits = out.shape[d] == (d == axis_of(x, axis) ? 1 : x.shape[d]);
  if (!fits)
    throw InvalidArgument(std::string(what) +
                          " must have the shape of x with length 1 along the axis");
  if (overlaps_itself(out))
    throw InvalidArgument(std::string(what) + " has elements that share memory");
  const auto check = [&](const std::optional<ConstView>& input) {
    if (input) check_apart(out, what, {&*input});
  };
  check_apart(out, what, {&x});
  for (const auto* input : {&o.where, &o.temperature.values, &o.top_k.values, &o.top_p.values,
                            &o.min_p.values, &o.typical_p.values, &o.top_n_sigma.values,
                            &o.random.seed.values, &o.random.position.values})
    check(*input);
  if (o.random.row_ids) check(o.random.row_ids->values);
  return places_of(as_input(out), x, axis, what);
}

}  // namespace

SampleCall sample_call(const ConstView& x, int axis, const View& indices, const SampleOptions& o,
                       const View* logprobs) {
  Options core;
  core.where = o.where;
  const Call rows = axis_call(x, axis, core);
  if (rows.row_length == 0)
    throw InvalidArgument("cannot sample along an axis of length 0 (x has shape " +
                          shape_text(x.shape) + ")");
  if (o.max_surprise.values || o.max_surprise.value < std::numeric_limits<double>::infinity())
    throw InvalidArgument("max_surprise is not supported for arrays on a GPU");
  SampleCall call{};
  call.rows = rows_call(rows);
  call.options = row_options(x, axis, o);
  const std::int64_t length = rows.row_length;
  call.most_k = o.top_k.values ? length - 1 : o.top_k.value < length ? o.top_k.value : 0;
  call.may_filter = call.most_k > 0 || o.top_p.values || o.min_p.values || o.typical_p.values ||
                    o.top_n_sigma.values || o.top_p.value < 1.0 || o.min_p.value > 0.0 ||
                    o.typical_p.value < 1.0 || o.top_n_sigma.value > 0.0;
  call.indices = output_places(indices, "indices", DType::i64, x, axis, o);
  if (logprobs != nullptr) {
    call.logprobs = output_places(*logprobs, "logprobs", x.dtype, x, axis, o);
    const ConstView taken = as_input(indices);
    check_apart(*logprobs, "logprobs", {&taken});
  }
  return call;
}

void sample(const ConstView& x, int axis, const View& indices, const SampleOptions& options,
            const View* logprobs, int device, void* stream) {
  const SampleCall call = sample_call(x, axis, indices, options, logprobs);
  const Table& functions = table();
  check(functions, functions.sample(&call, device, stream));
}

}  // namespace fastsoftmax::cuda
