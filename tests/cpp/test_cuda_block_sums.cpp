// The sums of blocks that parts of rows leave on the emulated device: the doubles that results are
// formed from, which tell more than results do.
#include "emulated_kernels.h"

#include "cuda/backward_parts.h"
#include "cuda/row_parts.h"
#include "dispatch.h"
#include "emulated_operations.h"

namespace tests {
namespace {

constexpr std::int64_t kBlocks = 5;

// A row of so many blocks, the last one short.
template <class A, class T>
std::vector<T> some_row(Random& random, double scale) {
  std::vector<T> x(static_cast<std::size_t>((kBlocks - 1) * A::block + 3 * A::lanes + 7));
  for (T& v : x) v = static_cast<T>(scale * random.normal());
  return x;
}

template <class A, class T>
void compare_sums(Random& random, const fs::kernels::RowKernels& reference) {
  const std::vector<T> x = some_row<A, T>(random, 3.0);
  fs::kernels::RowsJob job{};
  job.op = fs::kernels::RowOp::log_softmax;
  job.algorithm = fs::kernels::RowAlgorithm::online;
  job.x = x.data();
  job.rows = 1;
  job.length = std::ssize(x);
  fs::kernels::BlockSum expected[kBlocks];
  reference.accumulate(job, {}, 0, kBlocks, expected);

  fs::kernels::BlockSum sums[kBlocks];
  cuda::Parameters call{};
  call.op = job.op;
  call.temperature = 1.0;
  call.x = reinterpret_cast<const char*>(x.data());
  call.rows = 1;
  call.length = job.length;
  call.part_blocks = 2;
  call.sums = sums;
  EmulatedLauncher launcher{&random};
  launcher.launch<cuda::SumParts<A, T, true>>(3, 32, 0, call);
  for (int b = 0; b < kBlocks; ++b) {
    CAPTURE(b);
    CHECK(sums[b].hi == expected[b].hi);
    CHECK(sums[b].lo == expected[b].lo);
    CHECK(sums[b].exponent == expected[b].exponent);
    if (!expected[b].has_rest) continue;
    CHECK(sums[b].rest_hi == expected[b].rest_hi);
    CHECK(sums[b].rest_lo == expected[b].rest_lo);
    CHECK(sums[b].max == expected[b].max);
  }
}

TEST_CASE("sums of blocks") {
  Random random(5);
  const fs::kernels::KernelTable& reference = fs::kernels_in_use();
  for (int turn = 0; turn < 5; ++turn) {
    compare_sums<cuda::F32, float>(random, reference.f32);
    compare_sums<cuda::F64, double>(random, reference.f64);
  }
}

template <class A, class T>
void compare_gradient_sums(Random& random, const fs::kernels::BackwardKernels& reference,
                           fs::kernels::RowOp op) {
  const std::vector<T> grad = some_row<A, T>(random, 1.0);
  const std::vector<T> y = some_row<A, T>(random, 1.0);
  fs::kernels::BackwardJob job{};
  job.rows.op = op;
  job.rows.x = grad.data();
  job.output = y.data();
  job.rows.rows = 1;
  job.rows.length = std::ssize(grad);
  fs::kernels::SumPair expected[kBlocks];
  reference.sum(job, 0, kBlocks, expected);
  const fs::kernels::SumPair joined = reference.join(expected, kBlocks);

  fs::kernels::SumPair sums[kBlocks];
  fs::kernels::SumPair total;
  cuda::BackwardParameters call{};
  call.op = op;
  call.temperature = 1.0;
  call.grad = reinterpret_cast<const char*>(grad.data());
  call.output = reinterpret_cast<const char*>(y.data());
  call.rows = 1;
  call.length = job.rows.length;
  call.part_blocks = 2;
  call.sums = sums;
  call.totals = &total;
  EmulatedLauncher launcher{&random};
  launcher.launch<cuda::SumGradientParts<A, T>>(3, 32, 0, call);
  launcher.launch<cuda::JoinGradientParts<A>>(1, 32, cuda::kJoinSharedBytes, call);
  for (int b = 0; b < kBlocks; ++b) {
    CHECK(sums[b].hi == expected[b].hi);
    CHECK(sums[b].lo == expected[b].lo);
  }
  CHECK(total.hi == joined.hi);
  CHECK(total.lo == joined.lo);
}

TEST_CASE("sums of blocks of gradients") {
  Random random(3);
  const auto& reference = fs::kernels_in_use().backward;
  for (const auto op : {fs::kernels::RowOp::softmax, fs::kernels::RowOp::log_softmax}) {
    compare_gradient_sums<cuda::F32, float>(random, reference.f32, op);
    compare_gradient_sums<cuda::F64, double>(random, reference.f64, op);
  }
}

// More blocks than the join fetches at a time.
TEST_CASE("gradients of a row of many blocks") {
  Random random(4);
  Tally tally;
  const auto n = static_cast<std::int64_t>(block_of(fs::DType::f64)) * 70 + 1;
  for (const fs::Op op : Gradient::ops) {
    const Gradient gradient{op};
    const Inputs x = gradient.rows(random, fs::DType::f64, 1, n);
    std::vector<Array> in;
    for (const Bytes& elements : x.elements) in.push_back(dense(x.dtype, {1, n}, elements));
    Array out = dense(x.dtype, {1, n});
    Array expected = out;
    gradient.on_cpu(in, expected, kRowAxis);
    cuda::BackwardParameters call{};
    static_cast<cuda::BackwardCall&>(call) = gradient.call(in, out, kRowAxis);
    std::vector<fs::kernels::SumPair> sums(72);
    call.sums = sums.data();
    call.totals = sums.data() + 71;
    call.part_blocks = 36;
    EmulatedLauncher launcher{&random};
    launcher.launch<cuda::SumGradientParts<cuda::F64, double>>(2, 64, 0, call);
    launcher.launch<cuda::JoinGradientParts<cuda::F64>>(1, 32, cuda::kJoinSharedBytes, call);
    launcher.launch<cuda::WriteGradientParts<cuda::F64, double>>(2, 64, 0, call);
    tally.same(x.dtype, expected.bytes, out.bytes, [&] { return describe(op, x.dtype, {}); });
  }
  CHECK(tally.failed() == 0);
}

}  // namespace
}  // namespace tests
