#include "emulated_kernels.h"

#include "cuda/backward_launch.h"

namespace tests {

void launch(const cuda::Plan& plan, const cuda::BackwardCall& call, EmulatedLauncher& launcher) {
  with_workspace(cuda::workspace_bytes(call, plan), [&](void* workspace) {
    with_types(call.dtype, [&](auto arithmetic, auto element) {
      cuda::launch_backward<decltype(arithmetic), decltype(element)>(plan, call, workspace,
                                                                     launcher);
    });
  });
}

}  // namespace tests
