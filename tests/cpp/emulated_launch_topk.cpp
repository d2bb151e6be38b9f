#include "emulated_kernels.h"

#include "cuda/topk_launch.h"

namespace tests {
namespace {

struct TopkLauncher : EmulatedLauncher {
  void normalize(const cuda::Plan& plan, const cuda::RowsCall& call, void* workspace) {
    tests::launch(plan, call, workspace, *this);
  }
};

template <class Row>
void launch_rows(const cuda::TopkPlan& plan, const cuda::TopkRowsCall& call, void* workspace,
                 EmulatedLauncher& launcher) {
  TopkLauncher of_topk{launcher};
  cuda::launch_topk<Row>(plan, call, workspace, of_topk);
}

}  // namespace

void launch(const cuda::TopkPlan& plan, const cuda::TopkRowsCall& call,
            EmulatedLauncher& launcher) {
  with_workspace(plan.workspace.bytes, [&](void* workspace) {
    switch (call.dtype) {
      case fs::DType::f32:
      case fs::DType::f64:
      case fs::DType::f16:
      case fs::DType::bf16:
        return with_types(call.dtype, [&](auto arithmetic, auto element) {
          using Scored = cuda::ScoredRow<decltype(arithmetic), decltype(element)>;
          launch_rows<Scored>(plan, call, workspace, launcher);
        });
      default:
        return launch_rows<cuda::IntegerRow>(plan, call, workspace, launcher);
    }
  });
}

}  // namespace tests
