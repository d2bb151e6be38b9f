// Clusters of thread blocks of the CUDA kernels on a CPU: every thread is a fiber that runs to the
// next barrier, exchange or wait for a copy. The threads take turns in an order that the launcher
// chooses, so that a kernel whose result depends on that order does not pass.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

#include "corpus.h"
#include "cuda/geometry.h"
#include "elements.h"
#include "emulated_copies.h"
#include "fiber.h"

namespace tests {

// Threads count through the thread blocks of the cluster.
class EmulatedCluster {
 public:
  // Runs body(0) to body(ranks * block_threads - 1). Throws std::logic_error where threads wait for
  // each other at different places, and what body throws.
  void run(int ranks, int block_threads, Random* order, const Fiber::Body& body) {
    const int threads = ranks * block_threads;
    while (threads_.size() < static_cast<std::size_t>(threads)) threads_.emplace_back();
    thread_count_ = threads;
    cluster_waiting_ = 0;
    blocks_.assign(static_cast<std::size_t>(ranks), Block{block_threads, 0, false, false, false});
    met_ = false;
    group_waiting_.assign(static_cast<std::size_t>(threads), 0);
    std::vector<int> turns(static_cast<std::size_t>(threads));
    std::iota(turns.begin(), turns.end(), 0);
    if (order != nullptr) order->shuffle(turns);
    for (int t = 0; t < threads; ++t) {
      at(t).fiber.begin(body, t);
      at(t).state = State::ready;
      at(t).turn = 0;
    }
    int running = threads;
    int held = -1;  // a thread that has no turn until the others wait for it
    while (running > 0) {
      bool moved = false;
      for (const int t : turns) {
        Thread& thread = at(t);
        if (t == held || thread.state == State::waiting || thread.state == State::done) continue;
        const bool polled = thread.state == State::polling;
        current_ = &thread;
        thread.fiber.resume();
        moved = moved || !polled || thread.state != State::polling;
        if (!thread.fiber.ended()) continue;
        thread.state = State::done;
        --running;
        blocks_[static_cast<std::size_t>(t / block_threads)].left = true;
      }
      if (!moved && held < 0)
        throw std::logic_error("threads wait for each other at different places");
      if (!moved)
        held = -1;
      else if (held < 0 && order != nullptr && order->chance(0.1))
        held = static_cast<int>(order->below(ranks)) * block_threads +
               (order->chance(0.5) ? 0 : static_cast<int>(order->below(block_threads)));
    }
  }

  void sync(int rank) {
    Block& block = blocks_[static_cast<std::size_t>(rank)];
    if (++block.waiting < block.threads) return wait();
    block.waiting = 0;
    block.any_of_all = std::exchange(block.any, false);
    release(rank * block.threads, (rank + 1) * block.threads);
  }
  void sync_cluster() {
    if (++cluster_waiting_ < thread_count_) return wait();
    cluster_waiting_ = 0;
    met_ = true;
    release(0, thread_count_);
  }
  // Before another thread block writes to its shared memory.
  void expect_present(int rank) const {
    if (!met_ || blocks_[static_cast<std::size_t>(rank)].left)
      throw std::logic_error("a thread block is written to that may not be there");
  }
  // Of so many neighbours.
  void sync_group(int thread, int size = fs::cuda::kGroup) {
    const int first = thread / size * size;
    int& waiting = group_waiting_[static_cast<std::size_t>(first)];
    if (++waiting < size) return wait();
    waiting = 0;
    release(first, first + size);
  }

  // The other thread's value: both are there when the group has met.
  template <class T>
  T exchange(int thread, T v, int mask, int size) {
    const int turn = at(thread).turn ^= 1;
    std::memcpy(at(thread).slot[turn], &v, sizeof v);
    sync_group(thread, size);
    T other;
    std::memcpy(&other, at(thread ^ mask).slot[turn], sizeof v);
    return other;
  }

  // Whether b holds for any thread of the thread block.
  bool any(int rank, bool b) {
    Block& block = blocks_[static_cast<std::size_t>(rank)];
    block.any = block.any || b;
    sync(rank);
    return block.any_of_all;
  }

  // Until there() holds, which other threads see to.
  template <class There>
  void poll(There&& there) {
    while (!there()) {
      current_->state = State::polling;
      current_->fiber.pause();
    }
    current_->state = State::ready;
  }

 private:
  enum class State { ready, waiting, polling, done };
  struct Block {
    int threads;
    int waiting;
    bool any;
    bool any_of_all;
    bool left;  // one of its threads has
  };
  struct Thread {
    Fiber fiber;
    State state;
    int turn;
    alignas(8) char slot[2][8];
  };

  Thread& at(int thread) { return threads_[static_cast<std::size_t>(thread)]; }
  void wait() {
    current_->state = State::waiting;
    current_->fiber.pause();
  }
  void release(int first, int last) {
    for (int t = first; t < last; ++t) at(t).state = State::ready;
  }

  std::deque<Thread> threads_;
  int thread_count_ = 0;
  Thread* current_ = nullptr;
  int cluster_waiting_ = 0;
  bool met_ = false;
  std::vector<Block> blocks_;
  std::vector<int> group_waiting_;  // by the first thread of a group
};

// One for all launches: its stacks are large.
inline EmulatedCluster& emulated_cluster() {
  static EmulatedCluster cluster;
  return cluster;
}

// What kernels see of it: team.h.
struct EmulatedTeam {
  EmulatedCluster* emulated;
  EmulatedCopies* copies;
  int thread_index;
  int thread_count;
  int rank_index;
  int rank_count;
  std::int64_t block_index;
  std::int64_t block_count;
  char* shared;
  std::int64_t shared_stride;  // bytes from one thread block's to the next one's

  int thread() const { return thread_index; }
  int threads() const { return thread_count; }
  int rank() const { return rank_index; }
  int ranks() const { return rank_count; }
  std::int64_t block() const { return block_index; }
  std::int64_t blocks() const { return block_count; }
  void sync() const { emulated->sync(rank_index); }
  void sync_group() const { emulated->sync_group(of_cluster()); }
  void sync_cluster() const { emulated->sync_cluster(); }
  bool any_thread(bool b) const { return emulated->any(rank_index, b); }
  template <class T>
  T exchange(T v, int mask, int size = fs::cuda::kGroup) const {
    return emulated->exchange(of_cluster(), v, mask, size);
  }
  // Threads take turns at barriers only.
  unsigned fetch_add(unsigned* at, unsigned n) const { return std::exchange(*at, *at + n); }
  template <class T>
  T* peer(T* p, int rank) const {
    if (rank != rank_index) emulated->expect_present(rank);
    return reinterpret_cast<T*>(reinterpret_cast<char*>(p) + (rank - rank_index) * shared_stride);
  }
  void begin_copies(fs::cuda::CopyBarrier* barrier) const { copies->begin(barrier); }
  void start_copy(fs::cuda::CopyBarrier* barrier, char* to, const char* from, int bytes) const {
    copies->start(barrier, to, from, bytes);
  }
  void await_copy(fs::cuda::CopyBarrier* barrier, int phase) const {
    emulated->poll([&] { return copies->there(barrier, phase, of_cluster()); });
  }
  void end_reads() const { copies->end_reads(of_cluster()); }

 private:
  int of_cluster() const { return rank_index * thread_count + thread_index; }
};

struct EmulatedLauncher {
  Random* order = nullptr;  // of threads and of thread blocks; null: as they are counted

  template <class Kernel, class Call>
  void launch(std::int64_t blocks, int threads, int shared_bytes, const Call& call,
              int cluster = 1) {
    if (threads > Kernel::max_threads || threads % 32 != 0 || blocks % cluster != 0 ||
        cluster > fs::cuda::kMaxCluster)
      throw std::logic_error("a thread block or a cluster of this size cannot be launched");
    run(blocks, threads, shared_bytes, cluster,
        [&](const EmulatedTeam& team) { Kernel::run(team, call); });
  }

 private:
  // As aligned as shared memory is.
  struct alignas(16) Piece {
    char bytes[16];
  };
  static constexpr char kFill = '\xa5';

  void run(std::int64_t blocks, int threads, int shared_bytes, int cluster,
           const std::function<void(const EmulatedTeam&)>& kernel) const {
    EmulatedCluster& emulated = emulated_cluster();
    EmulatedCopies copies;
    const bool backwards = order != nullptr && order->chance(0.5);
    // Of each thread block, and more than it asks for.
    const std::size_t pieces = static_cast<std::size_t>(shared_bytes) / sizeof(Piece) + 2;
    const auto stride = static_cast<std::int64_t>(pieces * sizeof(Piece));
    std::vector<Piece> memory(pieces * static_cast<std::size_t>(cluster));
    char* const shared = memory[0].bytes;
    for (std::int64_t block = 0; block < blocks; block += cluster) {
      std::memset(shared, kFill, memory.size() * sizeof(Piece));
      const std::int64_t first = backwards ? blocks - cluster - block : block;
      emulated.run(cluster, threads, order, [&](int index) {
        const int rank = index / threads;
        kernel({&emulated, &copies, index % threads, threads, rank, cluster, first + rank, blocks,
                shared + rank * stride, stride});
      });
      copies.end();
      for (int rank = 0; rank < cluster; ++rank) {
        if (std::any_of(shared + rank * stride + shared_bytes, shared + (rank + 1) * stride,
                        [](char byte) { return byte != kFill; }))
          throw std::logic_error("a thread block wrote behind its shared memory");
      }
    }
  }
};

}  // namespace tests
