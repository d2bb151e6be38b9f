// The threads of a block as the kernels see them. A group is 16 neighbouring threads, which reduce
// one block of a row at a time; groups of one warp may go different ways. A cluster is a few thread
// blocks that run at the same time and write to each other's shared memory; one, unless a launch
// says otherwise.
//
//   thread, threads      index in the thread block, and how many there are
//   block, blocks        the thread block in the grid, and how many there are
//   rank, ranks          the thread block in its cluster, and how many there are
//   shared               dynamic shared memory, aligned to 16 bytes
//   sync()               barrier of the thread block
//   sync_group()         barrier of the group
//   sync_cluster()       barrier of the cluster; what was written before it can be read behind it.
//                        No thread block may be written to before its first, or after its last
//   peer(p, rank)        the shared memory of that thread block where p is in this one's
//   exchange(v, mask, size)  v of the thread with index ^ mask, of so many neighbours that meet; of
//                        the group where it is not said
//   any(b)               whether b holds for any of the threads that must stay together
//   begin_copies(), start_copy(), await_copy(), end_reads()  bulk_copy.h
//   fetch_add(at, n)     adds to an integer that threads share, and returns what it was
//
// The tests have another Team, which runs thread blocks on a CPU.
#pragma once

#include <cstdint>

#include "cuda/bulk_copy.h"

namespace fastsoftmax::cuda {

#ifdef __CUDACC__
struct Team {
  char* shared;

  // Volatile, here and below: read again where it is needed. Otherwise what follows from it, such
  // as the places of sixteen packs, stays in registers from one read of a row to the next.
  __device__ int thread() const {
    int thread;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
    return thread;
  }
  __device__ int threads() const { return static_cast<int>(blockDim.x); }
  __device__ std::int64_t block() const { return blockIdx.x; }
  __device__ std::int64_t blocks() const { return gridDim.x; }
  __device__ void sync() const { __syncthreads(); }
  __device__ void sync_group() const { __syncwarp(group_mask()); }
  __device__ bool any_thread(bool b) const { return __syncthreads_or(b ? 1 : 0) != 0; }
  template <class T>
  __device__ T exchange(T v, int mask, int size = 16) const {
    const unsigned threads = size == 32 ? ~0u : ((1u << size) - 1) << (threadIdx.x & (32 - size));
    return __shfl_xor_sync(threads, v, mask);
  }
  __device__ unsigned fetch_add(unsigned* at, unsigned n) const { return atomicAdd(at, n); }

#if __CUDA_ARCH__ >= 900
  __device__ int rank() const {
    int rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
  }
  __device__ int ranks() const {
    int ranks;
    asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(ranks));
    return ranks;
  }
  __device__ void sync_cluster() const {
    __syncwarp();
    __cluster_barrier_arrive();
    __cluster_barrier_wait();
  }
  template <class T>
  __device__ T* peer(T* p, int rank) const {
    return static_cast<T*>(__cluster_map_shared_rank(p, static_cast<unsigned>(rank)));
  }
#else
  __device__ int rank() const { return 0; }
  __device__ int ranks() const { return 1; }
  __device__ void sync_cluster() const { __syncthreads(); }
  template <class T>
  __device__ T* peer(T* p, int) const {
    return p;
  }
#endif

  __device__ void begin_copies(CopyBarrier* barrier) const { cuda::begin_copies(barrier); }
  __device__ void start_copy(CopyBarrier* barrier, char* to, const char* from, int bytes) const {
    cuda::start_copy(barrier, to, from, bytes);
  }
  __device__ void await_copy(CopyBarrier* barrier, int phase) const {
    cuda::await_copy(barrier, phase);
  }
  __device__ void end_reads() const { cuda::end_reads(); }

 private:
  __device__ static unsigned group_mask() { return 0xffffu << (threadIdx.x & 16u); }
};
#endif

}  // namespace fastsoftmax::cuda
