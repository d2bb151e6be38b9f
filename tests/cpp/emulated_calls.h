// Planned calls on the emulated device. For files that have FASTSOFTMAX_ISA as cuda.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cuda/backward_launch.h"
#include "cuda/launch.h"
#include "emulated_device.h"

namespace tests {
namespace {

// f(arithmetic, element) of a floating type.
template <class F>
void with_types(fs::DType dtype, F&& f) {
  switch (dtype) {
    case fs::DType::f32:
      return f(fs::cuda::F32{}, float{});
    case fs::DType::f64:
      return f(fs::cuda::F64{}, double{});
    case fs::DType::f16:
      return f(fs::cuda::F32{}, fs::f16{});
    default:
      return f(fs::cuda::F32{}, fs::bf16{});
  }
}

// As aligned as device memory is, and not zero.
class Workspace {
 public:
  explicit Workspace(std::int64_t bytes)
      : memory_(static_cast<std::size_t>(bytes) / sizeof(std::max_align_t) + 1) {
    std::memset(memory_.data(), 0xa5, memory_.size() * sizeof(std::max_align_t));
  }
  void* data() { return memory_.data(); }

 private:
  std::vector<std::max_align_t> memory_;
};

inline void launch(const fs::cuda::Plan& plan, const fs::cuda::RowsCall& call,
                   EmulatedLauncher& launcher) {
  Workspace workspace(fs::cuda::workspace_bytes(call, plan));
  with_types(call.dtype, [&](auto arithmetic, auto element) {
    fs::cuda::launch<decltype(arithmetic), decltype(element)>(plan, call, workspace.data(),
                                                              launcher);
  });
}
inline void launch(const fs::cuda::Plan& plan, const fs::cuda::BackwardCall& call,
                   EmulatedLauncher& launcher) {
  Workspace workspace(fs::cuda::workspace_bytes(call, plan));
  with_types(call.dtype, [&](auto arithmetic, auto element) {
    fs::cuda::launch_backward<decltype(arithmetic), decltype(element)>(plan, call, workspace.data(),
                                                                       launcher);
  });
}

}  // namespace
}  // namespace tests
