// A libfastsoftmax_cuda whose device is this CPU's memory and which runs the kernels thread block
// by thread block: for tests of everything above them. What it is asked of streams it notes down.
#include <cstdio>

#include "cuda/calls.h"
#include "emulated_launch.h"
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

template <class PlanOfCall, class Call>
int launch(const PlanOfCall& plan, const Call& call) {
  tests::EmulatedLauncher launcher;
  tests::launch(plan, call, launcher);
  return 0;
}

int run(const RowsCall* call, int device, void* stream) {
  note("run %llu on %llu\n", number(stream), static_cast<unsigned long long>(device));
  const bool writes = call->rows > 0 && (call->layout != Layout::columns || call->inner.size > 0) &&
                      (call->length > 0 || call->op == kernels::RowOp::logsumexp);
  return writes ? launch(make_plan(*call, kDevice), *call) : 0;
}
int backward(const BackwardCall* call, int device, void* stream) {
  note("backward %llu on %llu\n", number(stream), static_cast<unsigned long long>(device));
  return launch(make_plan(*call, kDevice), *call);
}
int loss(const LossCall* call, int device, void* stream) {
  note("loss %llu on %llu\n", number(stream), static_cast<unsigned long long>(device));
  return launch(make_crew_plan(*call, kDevice), *call);
}
int stats(const StatsCall* call, int device, void* stream) {
  note("stats %llu on %llu\n", number(stream), static_cast<unsigned long long>(device));
  return launch(make_crew_plan(*call, kDevice), *call);
}
int topk(const TopkRowsCall* call, int device, void* stream) {
  note("topk %llu on %llu\n", number(stream), static_cast<unsigned long long>(device));
  return launch(make_topk_plan(*call, kDevice), *call);
}
int sample(const SampleCall* call, int device, void* stream) {
  note("sample %llu on %llu\n", number(stream), static_cast<unsigned long long>(device));
  if (call->rows.rows == 0) return 0;
  return launch(make_sample_plan(*call, kDevice), *call);
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

extern "C" __attribute__((visibility("default"))) const Table* fastsoftmax_cuda_table_2() {
  static const Table table{FASTSOFTMAX_VERSION,
                           call_sizes(),
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
