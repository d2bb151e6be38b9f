// How selections are carried out on devices of several sizes: plans that can be launched.
#include <doctest/doctest.h>
#include <algorithm>

#include <cstdint>

#include "cuda/topk_plan.h"
#include "elements.h"

namespace tests {
namespace {

namespace cuda = fs::cuda;

TEST_CASE("plans of top-k can be launched, and have room for k") {
  constexpr cuda::Device devices[] = {{132, 227 * 1024, 50 << 20, 90},
                                      {40, 64 * 1024, 4 << 20, 75}};
  for (const cuda::Device& device : devices) {
    for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64, fs::DType::bf16, fs::DType::i8}) {
      for (const std::int64_t rows : {std::int64_t{1}, std::int64_t{512}, std::int64_t{1} << 40}) {
        for (std::int64_t length = 1; length < std::int64_t{1} << 33; length = 5 * length + 1) {
          for (std::int64_t k = 1; k <= length; k = 7 * k + 1) {
            cuda::TopkRowsCall call{};
            call.dtype = dtype;
            // No more results than addresses.
            call.rows = std::min(rows, (std::int64_t{1} << 58) / k);
            call.length = length;
            call.selection.k = k;
            call.selection.picked = dtype == fs::DType::i8    ? cuda::Picked::elements
                                    : dtype == fs::DType::f64 ? cuda::Picked::scores
                                                              : cuda::Picked::softmax;
            const cuda::TopkPlan plan = cuda::make_topk_plan(call, device);
            if (plan.short_blocks != 0) {
              CHECK((length <= 256 && k <= cuda::kFew));
              CHECK((plan.short_blocks >= 1 && plan.short_blocks <= INT32_MAX));
              continue;
            }
            CHECK(plan.capacity >= k);
            CHECK(plan.capacity % plan.sorted_at_once == 0);
            CHECK(plan.sorted_at_once >= 1);
            CHECK(plan.rows_in_flight >= 1);
            for (const std::int64_t blocks :
                 {plan.rows_in_flight, plan.observe_blocks, plan.join_blocks, plan.choose_blocks})
              CHECK((blocks >= 1 && blocks <= INT32_MAX));
            for (const int bytes :
                 {plan.join_shared_bytes, plan.exceptional_shared_bytes, plan.choose_shared_bytes})
              CHECK((bytes > 0 && bytes + cuda::kStaticSharedBytes <= device.shared_per_block));
            CHECK((plan.choose_threads % 32 == 0 && plan.choose_threads <= cuda::kChooseThreads));
            if (plan.maxima) CHECK(plan.pieces_at_once > 0);
          }
        }
      }
    }
  }
}

TEST_CASE("the target's plan: one read, candidates in shared memory") {
  cuda::TopkRowsCall call{};
  call.dtype = fs::DType::f32;
  call.rows = 512;
  call.length = 131072;
  call.selection.k = 50;
  call.selection.picked = cuda::Picked::softmax;
  const cuda::TopkPlan plan = cuda::make_topk_plan(call, {132, 227 * 1024, 50 << 20, 90});
  CHECK(plan.rows_in_flight == 512);
  CHECK(plan.sums);
  CHECK(plan.maxima);
  CHECK(plan.capacity == 1024);
  CHECK(plan.sorted_at_once == 1024);
}

}  // namespace
}  // namespace tests
