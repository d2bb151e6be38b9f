// sample as tests of the emulated device have it: what the library draws, and what a device must.
#pragma once

#include <doctest/doctest.h>

#include "cuda/sample_host.h"
#include "emulated_launch.h"
#include "run.h"

namespace tests {

// One index for each row along axis 1, and its log-probability.
struct Drawn {
  Bytes indices;
  Bytes logprobs;
};

template <class Run>
Drawn drawn_by(const Array& x, Run&& run) {
  Shape shape = x.shape;
  shape[1] = 1;
  Array indices = dense(fs::DType::i64, shape);
  Array logprobs = dense(x.dtype, shape);
  run(indices.out(), logprobs.out());
  return {indices.bytes, logprobs.bytes};
}

inline Drawn drawn_on_cpu(const Array& x, const fs::SampleOptions& options) {
  return drawn_by(x, [&](const fs::View& indices, const fs::View& logprobs) {
    fs::sample(x.view(), 1, indices, options, &logprobs);
  });
}

// Under the plan that plan_of makes of the call.
template <class PlanOf>
Drawn drawn_on_device(const Array& x, const fs::SampleOptions& options, PlanOf&& plan_of,
                      Random* order = nullptr) {
  return drawn_by(x, [&](const fs::View& indices, const fs::View& logprobs) {
    const cuda::SampleCall call = cuda::sample_call(x.view(), 1, indices, options, &logprobs);
    EmulatedLauncher launcher{order};
    launch(plan_of(call), call, launcher);
  });
}

template <class Describe>
void check_drawn(Tally& tally, fs::DType dtype, const Drawn& expected, const Drawn& found,
                 Describe&& what) {
  tally.same(fs::DType::i64, expected.indices, found.indices, what);
  tally.same(dtype, expected.logprobs, found.logprobs, what);
}

}  // namespace tests
