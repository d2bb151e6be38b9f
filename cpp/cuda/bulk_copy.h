// Copies from device memory to shared memory that no thread waits for until it needs the bytes
// (cp.async.bulk, compute capability 9.0 and newer). A barrier counts what has arrived and has one
// phase after the other, of which each is over when one copy is there.
//
// Copies go another way to shared memory than threads do (the async proxy): what these have read
// there is ordered before a copy by a fence of that proxy alone, whatever barriers there are. In
// the other direction the end of a copy is such a fence.
//
// Domain: addresses in device memory and `bytes` are multiples of 16, and so are those in shared
// memory. Older devices have none of it: the plan does not ask them to.
#pragma once

#include <cstdint>

namespace fastsoftmax::cuda {

using CopyBarrier = std::uint64_t;

#ifdef __CUDACC__

__device__ inline std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

// By the thread that starts copies; others may wait behind a barrier of the thread block.
__device__ inline void begin_copies(CopyBarrier* barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(barrier)) : "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// To memory that nobody reads until the copy is there.
__device__ inline void start_copy(CopyBarrier* barrier, char* to, const char* from, int bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
#endif
}

// By every thread that has read shared memory, ahead of the barrier behind which a copy writes to
// it.
__device__ inline void end_reads() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// Phases alternate between 0 and 1; the first is 0.
__device__ inline void await_copy(CopyBarrier* barrier, int phase) {
#if __CUDA_ARCH__ >= 900
  int there;
  do {
    asm volatile(
        "{\n"
        ".reg .pred there;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 there, [%1], %2;\n"
        "selp.s32 %0, 1, 0, there;\n"
        "}\n"
        : "=r"(there)
        : "r"(shared_address(barrier)), "r"(phase)
        : "memory");
  } while (there == 0);
#endif
}

#endif

}  // namespace fastsoftmax::cuda
