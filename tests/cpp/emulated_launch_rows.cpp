#include "emulated_kernels.h"

#include "cuda/launch.h"

namespace tests {

void launch(const cuda::Plan& plan, const cuda::RowsCall& call, void* workspace,
            EmulatedLauncher& launcher) {
  with_types(call.dtype, [&](auto arithmetic, auto element) {
    cuda::launch<decltype(arithmetic), decltype(element)>(plan, call, workspace, launcher);
  });
}
void launch(const cuda::Plan& plan, const cuda::RowsCall& call, EmulatedLauncher& launcher) {
  with_workspace(cuda::workspace_bytes(call, plan),
                 [&](void* workspace) { launch(plan, call, workspace, launcher); });
}

}  // namespace tests
