// The threads of a block as the kernels see them. A group is 16 neighbouring threads, which reduce
// one block of a row at a time; groups of one warp may go different ways.
//
//   thread, threads      index in the thread block, and how many there are
//   block, blocks        the thread block in the grid, and how many there are
//   shared               dynamic shared memory, aligned to 16 bytes
//   sync()               barrier of the thread block
//   sync_group()         barrier of a group
//   exchange(v, mask)    v of the thread with index ^ mask of the same group
//   any(b)               whether b holds for any of the threads that must stay together
//
// The tests have another Team, which runs thread blocks on a CPU.
#pragma once

#include <cstdint>

namespace fastsoftmax::cuda {

#ifdef __CUDACC__
struct Team {
  char* shared;

  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int threads() const { return static_cast<int>(blockDim.x); }
  __device__ std::int64_t block() const { return blockIdx.x; }
  __device__ std::int64_t blocks() const { return gridDim.x; }
  __device__ void sync() const { __syncthreads(); }
  __device__ bool any_thread(bool b) const { return __syncthreads_or(b ? 1 : 0) != 0; }
  __device__ void sync_group() const { __syncwarp(0xffffu << (threadIdx.x & 16u)); }
  template <class T>
  __device__ T exchange(T v, int mask) const {
    return __shfl_xor_sync(0xffffu << (threadIdx.x & 16u), v, mask);
  }
};
#endif

}  // namespace fastsoftmax::cuda
