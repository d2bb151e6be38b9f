// topk and softmax_topk with a temperature for each row on an emulated device.
#include <limits>

#include "emulated_topk.h"

namespace tests {
namespace {

TEST_CASE("topk on a device: a temperature for each row, of any type") {
  Random random(6);
  Tally tally;
  const std::vector<double> numbers = {0.0, 1.0, 2.0, 3.0};
  const std::vector<double> zero_is_one = {1.0, 1.0, 2.0, 3.0};
  const Array exact = dense(fs::DType::f64, {4, 1}, encode(fs::DType::f64, zero_is_one));
  for (const fs::DType dtype : kFloatTypes) {
    for (int type = 0; type < static_cast<int>(fs::DType::boolean); ++type) {
      for (const std::int64_t n : {1 + random.below(400), 1000 + random.below(1500)}) {
        const auto of_temperatures = static_cast<fs::DType>(type);
        Array in = matrix(dtype, 4, n, static_cast<Layout>(random.below(4)));
        from_dense(in, random_rows(random, dtype, 4, static_cast<std::size_t>(n)));
        const Mask mask(random, 4, n, 0.7);
        TopkCase c = some_case(random, n);
        c.selection = false;
        if (random.chance(0.4)) c.options.where = mask.view();
        c.options.temperatures = exact.view();
        const Selected expected = on_cpu(in, c);
        const Array temperatures = dense(of_temperatures, {4, 1}, encode(of_temperatures, numbers));
        c.options.temperatures = temperatures.view();
        c.zero_is_one = true;
        check(tally, expected, in, c, random, "temperatures");
      }
    }
  }
  CHECK(tally.failed() == 0);
}

// Values are NaN, whatever the row holds and however it is masked; indices are those of NaN.
TEST_CASE("topk on a device: a temperature that is none makes its row NaN") {
  Random random(7);
  Tally tally;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  constexpr std::int64_t rows = 8;
  const std::vector<double> numbers = {1.0, 0.0, -1.0, kInfinity, -kInfinity, nan, 1e-60, 1e60};
  const Array temperatures = dense(fs::DType::f64, {rows, 1}, encode(fs::DType::f64, numbers));
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::bf16}) {
    // Of all rows but the first.
    const auto set_nan = [&](Bytes& elements) {
      for (std::size_t at = elements.size() / rows; at < elements.size(); at += item_bytes(dtype))
        put(dtype, &elements[at], nan);
    };
    for (const std::int64_t n : {std::int64_t{40}, std::int64_t{600}, std::int64_t{2500}}) {
      for (const double share : {0.0, 0.03, 0.5, 1.0}) {
        const Array in =
            dense(dtype, {rows, n}, random_rows(random, dtype, rows, static_cast<std::size_t>(n)));
        Array of_nan = in;
        set_nan(of_nan.bytes);
        Bytes admitted(static_cast<std::size_t>(rows * n));
        const std::int64_t first = random.below(n);
        for (std::int64_t i = 0; i < rows * n; ++i)
          admitted[static_cast<std::size_t>(i)] = i % n >= first && random.chance(share) ? 1 : 0;
        const Shape mask_steps = {n, 1};
        TopkCase c = some_case(random, n);
        c.selection = false;
        c.options.temperature = 1.0;
        c.options.where = fs::ConstView{admitted.data(), fs::DType::boolean, in.shape, mask_steps};
        Selected expected = on_cpu(of_nan, c);
        set_nan(expected.values);
        if (c.logsumexp) set_nan(expected.logsumexp);
        c.options.temperatures = temperatures.view();
        check(tally, expected, in, c, random, "temperature of none");
      }
    }
  }
  CHECK(tally.failed() == 0);
}

}  // namespace
}  // namespace tests
