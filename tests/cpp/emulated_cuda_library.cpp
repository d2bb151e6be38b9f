// A libfastsoftmax_cuda whose device is this CPU's memory and which runs the kernels thread block
// by thread block: for tests of everything above them. What it is asked of streams it notes down.
#define FASTSOFTMAX_ISA cuda
#include "simd/vec_cuda.h"

#include <cstdio>

#include "cuda/loss_launch.h"
#include "cuda/sample_launch.h"
#include "cuda/stats_rows.h"
#include "cuda/topk_launch.h"
#include "emulated_calls.h"
#include "fastsoftmax/version.h"

namespace fastsoftmax::cuda {
namespace {

constexpr Device kDevice{4, 64 * 1024, 1 << 20, 90};

// What was asked of streams, for tests: "run 7", "order 3 7", oldest first.
char journal[1 << 16];
void note(const char* format, unsigned long long a, unsigned long long b) {
  const std::size_t used = std::strlen(journal);
  std::snprintf(journal + used, sizeof journal - used, format, a, b);
}
unsigned long long number(void* stream) { return reinterpret_cast<std::uintptr_t>(stream); }

template <class Call>
int run_planned(const Call& call) {
  tests::EmulatedLauncher launcher;
  tests::launch(make_plan(call, kDevice), call, launcher);
  return 0;
}

int run(const RowsCall* call, int device, void* stream) {
  note("run %llu on %llu\n", number(stream), static_cast<unsigned long long>(device));
  const bool writes = call->rows > 0 && (call->layout != Layout::columns || call->inner.size > 0) &&
                      (call->length > 0 || call->op == kernels::RowOp::logsumexp);
  return writes ? run_planned(*call) : 0;
}
int backward(const BackwardCall* call, int device, void* stream) {
  note("backward %llu on %llu\n", number(stream), static_cast<unsigned long long>(device));
  return run_planned(*call);
}
int loss(const LossCall* call, int device, void* stream) {
  note("loss %llu on %llu\n", number(stream), static_cast<unsigned long long>(device));
  const Plan plan = make_crew_plan(*call, kDevice);
  std::vector<double> workspace(
      static_cast<std::size_t>(loss_workspace_bytes(*call)) / sizeof(double) + 1);
  tests::EmulatedLauncher launcher;
  tests::with_types(call->dtype, [&](auto arithmetic, auto element) {
    launch_loss<decltype(arithmetic), decltype(element)>(plan, *call, workspace.data(), launcher);
  });
  return 0;
}
int stats(const StatsCall* call, int device, void* stream) {
  note("stats %llu on %llu\n", number(stream), static_cast<unsigned long long>(device));
  const Plan plan = make_crew_plan(*call, kDevice);
  tests::EmulatedLauncher launcher;
  tests::with_types(call->dtype, [&](auto arithmetic, auto element) {
    launch_stats<decltype(arithmetic), decltype(element)>(plan, *call, launcher);
  });
  return 0;
}
struct TopkLauncher : tests::EmulatedLauncher {
  void normalize(const Plan& plan, const RowsCall& call, void*) {
    tests::launch(plan, call, *this);
  }
};

void launch_emulated(const TopkPlan& plan, const TopkRowsCall& call, void* workspace) {
  TopkLauncher launcher;
  switch (call.dtype) {
    case DType::f32:
      return launch_topk<ScoredRow<F32, float>>(plan, call, workspace, launcher);
    case DType::f64:
      return launch_topk<ScoredRow<F64, double>>(plan, call, workspace, launcher);
    case DType::f16:
      return launch_topk<ScoredRow<F32, f16>>(plan, call, workspace, launcher);
    case DType::bf16:
      return launch_topk<ScoredRow<F32, bf16>>(plan, call, workspace, launcher);
    default:
      return launch_topk<IntegerRow>(plan, call, workspace, launcher);
  }
}

int topk(const TopkRowsCall* call, int device, void* stream) {
  note("topk %llu on %llu\n", number(stream), static_cast<unsigned long long>(device));
  const TopkPlan plan = make_topk_plan(*call, kDevice);
  std::vector<std::max_align_t> workspace(
      static_cast<std::size_t>(plan.workspace.bytes) / sizeof(std::max_align_t) + 1);
  launch_emulated(plan, *call, workspace.data());
  return 0;
}
int sample(const SampleCall* call, int device, void* stream) {
  note("sample %llu on %llu\n", number(stream), static_cast<unsigned long long>(device));
  if (call->rows.rows == 0) return 0;
  const SamplePlan plan = make_sample_plan(*call, kDevice);
  std::vector<std::max_align_t> workspace(
      static_cast<std::size_t>(plan.rows * SampleWorkspace(*call).bytes) /
          sizeof(std::max_align_t) +
      1);
  tests::EmulatedLauncher launcher;
  launch_sample(plan, *call, workspace.data(), launcher);
  return 0;
}
int order(int, void* before, void* after) {
  note("order %llu %llu\n", number(before), number(after));
  return 0;
}
int device_count(int* count) {
  *count = 1;
  return 0;
}
int device_name(int, char* name, int size) {
  std::snprintf(name, static_cast<std::size_t>(size), "emulated");
  return 0;
}
int device_of(const void*, int* device) {
  *device = 0;
  return 0;
}
const char* error_text(int) { return "unknown error"; }

}  // namespace

extern "C" __attribute__((visibility("default"))) const Table* fastsoftmax_cuda_table_1() {
  static const Table table{FASTSOFTMAX_VERSION,
                           "0",
                           device_count,
                           device_name,
                           device_of,
                           run,
                           backward,
                           loss,
                           stats,
                           topk,
                           sample,
                           order,
                           error_text};
  return &table;
}
extern "C" __attribute__((visibility("default"))) const char* emulated_journal() { return journal; }

}  // namespace fastsoftmax::cuda
