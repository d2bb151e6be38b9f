#include "emulated_kernels.h"

#include "cuda/sample_launch.h"

namespace tests {

void launch(const cuda::SamplePlan& plan, const cuda::SampleCall& call,
            EmulatedLauncher& launcher) {
  with_workspace(plan.rows * cuda::SampleWorkspace(call).bytes,
                 [&](void* workspace) { cuda::launch_sample(plan, call, workspace, launcher); });
}

}  // namespace tests
