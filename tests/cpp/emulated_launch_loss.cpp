#include "emulated_kernels.h"

#include "cuda/loss_launch.h"

namespace tests {

void launch(const cuda::Plan& plan, const cuda::LossCall& call, EmulatedLauncher& launcher) {
  with_workspace(cuda::loss_workspace_bytes(call), [&](void* workspace) {
    with_types(call.dtype, [&](auto arithmetic, auto element) {
      cuda::launch_loss<decltype(arithmetic), decltype(element)>(plan, call, workspace, launcher);
    });
  });
}

}  // namespace tests
