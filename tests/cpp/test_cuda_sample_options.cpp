// sample on the emulated device: options in arrays, options outside their range, and what is
// refused.
#include <cmath>
#include <limits>

#include "emulated_sample.h"

namespace tests {
namespace {

// An array of options, as an integer or floating type of the device's and as the CPU takes it.
struct OptionArray {
  Shape shape;
  Array given;
  Array wide;  // f64 or u64

  OptionArray(fs::DType dtype, const Shape& shape_, const std::vector<double>& values,
              bool integers)
      : shape(shape_),
        given(dense(dtype, shape_)),
        wide(dense(integers ? fs::DType::u64 : fs::DType::f64, shape_)) {
    const std::size_t item = item_bytes(dtype);
    for (std::size_t i = 0; i < values.size(); ++i) {
      unsigned char* const at = given.bytes.data() + i * item;
      if (integers) {
        const auto value = static_cast<std::int64_t>(values[i]);
        std::memcpy(at, &value, item);
        std::memcpy(wide.bytes.data() + i * 8, &value, 8);
      } else {
        put(dtype, at, values[i]);
        const auto value = static_cast<double>(get(dtype, at));
        std::memcpy(wide.bytes.data() + i * 8, &value, 8);
      }
    }
  }
  fs::ConstView view(bool on_device) const { return (on_device ? given : wide).view(); }
};

Drawn drawn_on_device(const Array& x, const fs::SampleOptions& options) {
  return drawn_on_device(x, options, [](const cuda::SampleCall& call) {
    return cuda::make_sample_plan(call, {2, 64 * 1024, 1 << 20, 75});
  });
}

TEST_CASE("sample on a device: options in arrays of any type") {
  using enum fs::DType;
  Random random(3);
  Tally tally;
  constexpr std::array reals = {f16, bf16, f32, f64};
  constexpr std::array integers = {i8, i16, i32, i64, u8, u16, u32, u64};
  for (std::size_t i = 0; i < 24; ++i) {
    const fs::DType dtype = kFloatTypes[i % 4];
    const Shape shape = {2, 70 + random.below(70), 3};
    const auto size = static_cast<std::size_t>(6 * shape[1]);
    Array x = dense(dtype, shape, random_rows(random, dtype, 1, size));
    const fs::DType real = reals[i % reals.size()];
    const fs::DType integer = integers[i % integers.size()];
    const OptionArray temperature(real, {2, 1, 1}, {0.0, 0.75}, false);
    const OptionArray top_p(reals[(i / 4) % 4], {1, 3}, {0.5, 1.0, 0.25}, false);
    const OptionArray top_k(integer, {2, 1, 3}, {0, 5, 127, 70, 1, 20}, true);
    const OptionArray min_p(real, {1, 1, 3}, {0.0, 0.125, 0.0}, false);
    const OptionArray typical_p(real, {2, 1, 3}, {1, 1, 1, 1, 0.5, 1}, false);
    const OptionArray sigma(integer, {1}, {2}, true);
    const OptionArray sigma_wide(f64, {1}, {2.0}, false);
    const OptionArray seed(integer, {2, 1, 3}, {1, 2, 3, 4, 5, 100}, true);
    const OptionArray position(integer, {2, 1, 1}, {0, 7}, true);
    const OptionArray ids(integers[(i / 8) % 8], {1, 1, 3}, {9, 8, 7}, true);
    const auto options = [&](bool on_device) {
      fs::SampleOptions o;
      o.temperature.values = temperature.view(on_device);
      o.top_p.values = top_p.view(on_device);
      o.top_k.values = top_k.view(on_device);
      if (!on_device) o.top_k.values->dtype = i64;
      o.min_p.values = min_p.view(on_device);
      o.typical_p.values = typical_p.view(on_device);
      o.top_n_sigma.values = on_device ? sigma.view(true) : sigma_wide.view(false);
      o.random.seed.values = seed.view(on_device);
      o.random.position.values = position.view(on_device);
      o.random.row_ids = {0, ids.view(on_device)};
      return o;
    };
    check_drawn(tally, dtype, drawn_on_cpu(x, options(false)), drawn_on_device(x, options(true)),
                [&] { return "options " + std::to_string(i); });
  }
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() == 48);
}

TEST_CASE("sample on a device: one id for all rows") {
  Random random(5);
  Tally tally;
  for (const std::uint64_t id : {std::uint64_t{0}, std::uint64_t{5}, ~std::uint64_t{0}}) {
    const Array x = dense(fs::DType::f32, {4, 300}, random_rows(random, fs::DType::f32, 4, 300));
    fs::SampleOptions options;
    options.random.seed.value = 1;
    options.random.row_ids = {id, {}};
    check_drawn(tally, x.dtype, drawn_on_cpu(x, options), drawn_on_device(x, options),
                [&] { return "id " + std::to_string(id); });
  }
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() == 6);
}

TEST_CASE("sample on a device: an option outside its range gives the index -1 for its row") {
  using enum fs::DType;
  Random random(4);
  const Shape shape = {2, 80, 3};
  const Array x = dense(f32, shape, random_rows(random, f32, 6, 80));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto expect_bad = [&](const fs::SampleOptions& options, std::size_t bad) {
    const Drawn drawn = drawn_on_device(x, options);
    for (std::size_t row = 0; row < 6; ++row) {
      const auto index = load<std::int64_t>(drawn.indices.data() + 8 * row);
      const auto logprob = load<float>(drawn.logprobs.data() + 4 * row);
      CHECK((index == -1) == (row == bad));
      if (row == bad) CHECK(std::isnan(logprob));
      CHECK(index < 80);
    }
  };
  const Shape all = {2, 1, 3};
  for (const double value : {-0.1, 1.5, nan, kInfinity, -kInfinity}) {
    const OptionArray p(f64, all, {0.5, 0.5, value, 0.5, 0.5, 0.5}, false);
    for (const auto member :
         {&fs::SampleOptions::top_p, &fs::SampleOptions::min_p, &fs::SampleOptions::typical_p}) {
      fs::SampleOptions options;
      (options.*member).values = p.view(true);
      expect_bad(options, 2);
    }
  }
  for (const double value : {-1.0, nan, kInfinity, 1e39, 1e-60}) {
    const OptionArray t(f64, all, {1, 1, 1, 1, value, 1}, false);
    fs::SampleOptions options;
    options.temperature.values = t.view(true);
    expect_bad(options, 4);
  }
  const OptionArray negative(i32, all, {0, -1, 0, 0, 0, 0}, true);
  fs::SampleOptions options;
  options.random.seed.values = negative.view(true);
  expect_bad(options, 1);
  options = {};
  options.random.row_ids = {0, negative.view(true)};
  expect_bad(options, 1);
  options = {};
  options.top_k.values = negative.view(true);
  expect_bad(options, 1);
  const OptionArray far(u64, all, {0, 0, 0, 0, 0, 0x1p32}, true);
  options = {};
  options.random.position.values = far.view(true);
  expect_bad(options, 5);
}

TEST_CASE("sample on a device: what is refused") {
  using enum fs::DType;
  const Array x = dense(f32, {2, 5});
  Array indices = dense(i64, {2, 1});
  Array logprobs = dense(f32, {2, 1});
  const fs::SampleOptions plain;
  const auto refused = [&](const Array& from, int axis, Array& to, fs::SampleOptions options) {
    const fs::View logs = logprobs.out();
    CHECK_THROWS_AS(cuda::sample_call(from.view(), axis, to.out(), options, &logs),
                    fs::InvalidArgument);
  };
  CHECK_NOTHROW(cuda::sample_call(x.view(), 1, indices.out(), plain, nullptr));
  refused(x, 0, indices, plain);
  refused(x, 2, indices, plain);
  refused(dense(f32, {2, 0}), 1, indices, plain);
  refused(dense(i32, {2, 5}), 1, indices, plain);
  Array wrong = dense(i32, {2, 1});
  refused(x, 1, wrong, plain);
  Array repeated = indices;
  repeated.strides[0] = 0;
  refused(x, 1, repeated, plain);
  const auto with = [&](auto set) {
    fs::SampleOptions options;
    set(options);
    refused(x, 1, indices, options);
  };
  with([](auto& o) { o.top_k.value = -1; });
  with([](auto& o) { o.max_surprise.value = 3.0; });
  with([](auto& o) { o.top_p.value = 1.5; });
  with([](auto& o) { o.temperature.value = -1.0; });
  with([](auto& o) { o.random.position.value = std::uint64_t{1} << 32; });
  const Array flags = dense(boolean, {2, 1});
  with([&](auto& o) { o.top_p.values = flags.view(); });
  const Array floats = dense(f32, {2, 1});
  with([&](auto& o) { o.top_k.values = floats.view(); });
  with([&](auto& o) { o.random.seed.values = floats.view(); });
  with([&](auto& o) { o.random.row_ids = {0, floats.view()}; });
  with([&](auto& o) { o.random.seed.values = indices.view(); });  // overlaps an output
  const Array per_element = dense(f32, {2, 5});
  with([&](auto& o) { o.top_p.values = per_element.view(); });
}

}  // namespace
}  // namespace tests
