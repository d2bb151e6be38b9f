// The CUDA kernels of softmax, log_softmax and logsumexp, run thread block by thread block on this
// CPU: the bits of the library.
#include "emulated_operations.h"

namespace tests {
namespace {

TEST_CASE("rows of every length and kind have the bits of the library on every path") {
  Random random(1);
  Tally tally;
  for_each_operation<Forward>([&](fs::DType dtype, const Forward& forward) {
    for (const std::int64_t n : lengths_around(block_of(dtype))) {
      const Inputs x = forward.rows(random, dtype, n < 100 ? 5 : 3, n);
      const auto layout = static_cast<Layout>(random.below(4));
      check_plans(tally, forward, x, {Layout::rows, Layout::rows}, random);
      if (layout != Layout::rows) check_plans(tally, forward, x, {layout, layout}, random);
    }
  });
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 3000);
}

// Whatever the size of the cluster, the number of slots and of rows that a crew takes; rows outside
// the domain among them.
TEST_CASE("rows of clusters, in slots") {
  Random random(6);
  Tally tally;
  std::int64_t bulk = 0;
  const auto check = [&](const Forward& forward, fs::DType dtype, int cluster, std::int64_t n) {
    constexpr std::int64_t rows = 3;
    const auto rounds =
        static_cast<int>(ceil_div(n, 2 * cluster * static_cast<std::int64_t>(block_of(dtype))));
    Bytes x = random_rows(random, dtype, rows, static_cast<std::size_t>(n));
    const Pattern& pattern =
        kPatterns[static_cast<std::size_t>(random.below(std::ssize(kPatterns)))];
    const Bytes one = make_row(pattern, dtype, static_cast<std::size_t>(n), random.bits());
    std::copy(one.begin(), one.end(), x.begin() + random.below(rows) * std::ssize(one));
    std::vector<Array> in = {matrix(dtype, rows, n, Layout::rows)};
    from_dense(in[0], x);
    const Shape shape = forward.result({rows, n}, kRowAxis);
    Array out = matrix(dtype, shape[0], shape[1], Layout::rows, kMargin);
    Array expected = out;
    forward.on_cpu(in, expected, kRowAxis);
    for (const int slots : {0, 1, 2}) {
      const bool in_registers = rounds == 1 && random.chance(0.7);
      check_plan(tally, forward, in, out, kRowAxis, expected,
                 random.chance(0.7) ? &random : nullptr, [&](const cuda::RowsCall& call) {
                   const int kept = in_registers || slots == 0 ? slots : rounds + slots - 1;
                   cuda::Plan plan = crew_plan(
                       call, {cuda::Path::cluster_rows, 2, cluster, in_registers, kept, slots > 0});
                   if (random.chance(0.6)) plan.blocks = cluster;
                   bulk += plan.bulk ? 1 : 0;
                   return plan;
                 });
    }
  };
  for_each_operation<Forward>([&](fs::DType dtype, const Forward& forward) {
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    for (const int cluster : {2, 4, 8}) {
      const std::int64_t length = 2 * cluster * block;
      for (const std::int64_t n : {length - block, length - 8, length, length + 8,
                                   2 * length - block + 3, 3 * length + 24}) {
        if (dtype == fs::DType::f32 || random.chance(0.3)) check(forward, dtype, cluster, n);
      }
    }
  });
  CHECK(tally.failed() == 0);
  CHECK(bulk > 100);
}

TEST_CASE("every kind of row, masked and with a temperature") {
  Random random(2);
  Tally tally;
  for_each_operation<Forward>([&](fs::DType dtype, Forward forward) {
    for (const Pattern& pattern : kPatterns) {
      if (dtype != fs::DType::f32 && random.chance(0.5)) continue;
      const auto n = static_cast<std::int64_t>(block_of(dtype)) / 8 + random.below(700);
      const Inputs x{
          dtype, 3, n, {rows_of(pattern, random, dtype, 3, static_cast<std::size_t>(n))}};
      forward.options = {};
      if (random.chance(0.5)) forward.options.temperature = random.uniform() + 0.1;
      if (random.chance(0.5)) forward.options.empty = fs::EmptyRow::zero;
      Mask mask(random, 3, n, random.uniform());
      if (random.chance(0.3)) mask.leave_out_first_row();
      for (const Layout layout : {Layout::rows, static_cast<Layout>(random.below(4))}) {
        check_plans(tally, forward, x, {layout, layout}, random);
        forward.options.where = mask.view();
      }
    }
  });
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 1000);
}

TEST_CASE("what a GPU does not take") {
  const Shape shape = {2, 3};
  const Shape strides = {24, 8};
  alignas(8) unsigned char x[64] = {};
  alignas(8) unsigned char y[64] = {};
  const auto call = [&](fs::DType dtype, std::size_t past) {
    return cuda::rows_call(fs::make_call(fs::Op::softmax, {x + past, dtype, shape, strides},
                                         {y, fs::DType::f64, shape, strides}, kRowAxis, {}));
  };
  CHECK_NOTHROW(call(fs::DType::f64, 0));
  CHECK_THROWS_AS(call(fs::DType::i64, 0), fs::InvalidType);
  CHECK_THROWS_AS(call(fs::DType::f64, 4), fs::InvalidArgument);
}

}  // namespace
}  // namespace tests
