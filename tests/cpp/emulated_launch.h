// Plans carried out on the emulated device. Every kernel is compiled once, in the file
// emulated_launch_*.cpp of its operation.
#pragma once

#include "cuda/backward_plan.h"
#include "cuda/crew_plan.h"
#include "cuda/loss_call.h"
#include "cuda/plan.h"
#include "cuda/sample_plan.h"
#include "cuda/stats_call.h"
#include "cuda/topk_plan.h"
#include "emulated_device.h"

namespace tests {

namespace cuda = fs::cuda;

void launch(const cuda::Plan& plan, const cuda::RowsCall& call, EmulatedLauncher& launcher);
void launch(const cuda::Plan& plan, const cuda::BackwardCall& call, EmulatedLauncher& launcher);
void launch(const cuda::Plan& plan, const cuda::LossCall& call, EmulatedLauncher& launcher);
void launch(const cuda::Plan& plan, const cuda::StatsCall& call, EmulatedLauncher& launcher);
void launch(const cuda::TopkPlan& plan, const cuda::TopkRowsCall& call, EmulatedLauncher& launcher);
void launch(const cuda::SamplePlan& plan, const cuda::SampleCall& call, EmulatedLauncher& launcher);

// In a workspace of the caller's, of workspace_bytes.
void launch(const cuda::Plan& plan, const cuda::RowsCall& call, void* workspace,
            EmulatedLauncher& launcher);

}  // namespace tests
