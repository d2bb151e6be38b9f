// For the files that compile kernels for the emulated device, and before all else in them.
#pragma once

#define FASTSOFTMAX_ISA cuda
#include "simd/vec_cuda.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "emulated_launch.h"

namespace tests {

// f(arithmetic, element) of a floating type.
template <class F>
void with_types(fs::DType dtype, F&& f) {
  switch (dtype) {
    case fs::DType::f32:
      return f(cuda::F32{}, float{});
    case fs::DType::f64:
      return f(cuda::F64{}, double{});
    case fs::DType::f16:
      return f(cuda::F32{}, fs::f16{});
    default:
      return f(cuda::F32{}, fs::bf16{});
  }
}

// f(memory) with so many bytes, as aligned as device memory is and not zero. Throws where f writes
// behind them.
template <class F>
void with_workspace(std::int64_t bytes, F&& f) {
  constexpr unsigned char fill = 0xa5;
  const auto size = static_cast<std::size_t>(bytes);
  std::vector<std::max_align_t> memory(size / sizeof(std::max_align_t) + 2);
  std::memset(memory.data(), fill, memory.size() * sizeof(std::max_align_t));
  f(static_cast<void*>(memory.data()));
  const auto* const first = reinterpret_cast<const unsigned char*>(memory.data());
  const auto* const end = first + memory.size() * sizeof(std::max_align_t);
  if (std::any_of(first + size, end, [](unsigned char b) { return b != fill; }))
    throw std::logic_error("a kernel wrote behind its workspace");
}

}  // namespace tests
