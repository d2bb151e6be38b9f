#include "emulated_kernels.h"

#include "cuda/stats_rows.h"

namespace tests {

void launch(const cuda::Plan& plan, const cuda::StatsCall& call, EmulatedLauncher& launcher) {
  with_types(call.dtype, [&](auto arithmetic, auto element) {
    cuda::launch_stats<decltype(arithmetic), decltype(element)>(plan, call, launcher);
  });
}

}  // namespace tests
