// Clusters of thread blocks of the CUDA kernels on a CPU: every thread is a context of its own that
// runs to the next barrier, exchange or wait for a copy. The threads take turns in an order that
// the launcher chooses, so that a kernel whose result depends on that order does not pass.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

#include "corpus.h"
#include "cuda/geometry.h"
#include "elements.h"
#include "emulated_copies.h"

namespace tests {

// Threads count through the thread blocks of the cluster.
class EmulatedCluster {
 public:
  using Body = std::function<void(int thread)>;

  // Runs body(0) to body(ranks * block_threads - 1). Throws std::logic_error where threads wait for
  // each other at different places, and what body throws.
  void run(int ranks, int block_threads, Random* order, const Body& body) {
    const int threads = ranks * block_threads;
    while (fibers_.size() < static_cast<std::size_t>(threads))
      fibers_.push_back(std::make_unique<Fiber>());
    threads_ = threads;
    body_ = &body;
    error_ = nullptr;
    cluster_waiting_ = 0;
    blocks_.assign(static_cast<std::size_t>(ranks), Block{block_threads, 0, false, false, false});
    met_ = false;
    group_waiting_.assign(static_cast<std::size_t>(threads), 0);
    std::vector<int> turns(static_cast<std::size_t>(threads));
    std::iota(turns.begin(), turns.end(), 0);
    if (order != nullptr) {
      for (std::size_t i = turns.size(); i > 1; --i)
        std::swap(turns[i - 1],
                  turns[static_cast<std::size_t>(order->below(static_cast<std::int64_t>(i)))]);
    }
    for (int t = 0; t < threads; ++t) start(t);
    int running = threads;
    int held = -1;  // a thread that has no turn until the others wait for it
    while (running > 0) {
      bool moved = false;
      for (const int t : turns) {
        Fiber& fiber = *fibers_[static_cast<std::size_t>(t)];
        if (t == held || fiber.state == State::waiting || fiber.state == State::done) continue;
        const bool polled = fiber.state == State::polling;
        current_ = t;
        swapcontext(&scheduler_, &fiber.context);
        moved = moved || !polled || fiber.state != State::polling;
        if (error_) std::rethrow_exception(error_);
        if (fiber.state != State::done) continue;
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
    if (++cluster_waiting_ < threads_) return wait();
    cluster_waiting_ = 0;
    met_ = true;
    release(0, threads_);
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
    Fiber& fiber = *fibers_[static_cast<std::size_t>(thread)];
    const int turn = fiber.turn ^= 1;
    std::memcpy(fiber.slot[turn], &v, sizeof v);
    sync_group(thread, size);
    T other;
    std::memcpy(&other, fibers_[static_cast<std::size_t>(thread ^ mask)]->slot[turn], sizeof v);
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
      Fiber& fiber = *fibers_[static_cast<std::size_t>(current_)];
      fiber.state = State::polling;
      swapcontext(&fiber.context, &scheduler_);
    }
    fibers_[static_cast<std::size_t>(current_)]->state = State::ready;
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
  struct Fiber {
    static constexpr std::size_t stack_bytes = 256 * 1024;

    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[stack_bytes]};
    State state;
    int turn;
    alignas(8) char slot[2][8];
  };

  void start(int thread) {
    Fiber& fiber = *fibers_[static_cast<std::size_t>(thread)];
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = Fiber::stack_bytes;
    fiber.context.uc_link = nullptr;
    fiber.state = State::ready;
    fiber.turn = 0;
    // makecontext passes ints.
    const auto self = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&fiber.context, reinterpret_cast<void (*)()>(enter), 2,
                static_cast<unsigned>(self >> 32), static_cast<unsigned>(self));
  }
  static void enter(unsigned high, unsigned low) {
    auto* self = reinterpret_cast<EmulatedCluster*>(std::uintptr_t{high} << 32 | low);
    const int thread = self->current_;
    try {
      (*self->body_)(thread);
    } catch (...) {
      self->error_ = std::current_exception();
    }
    Fiber& fiber = *self->fibers_[static_cast<std::size_t>(thread)];
    fiber.state = State::done;
    swapcontext(&fiber.context, &self->scheduler_);
  }
  void wait() {
    Fiber& fiber = *fibers_[static_cast<std::size_t>(current_)];
    fiber.state = State::waiting;
    swapcontext(&fiber.context, &scheduler_);
  }
  void release(int first, int last) {
    for (int t = first; t < last; ++t) fibers_[static_cast<std::size_t>(t)]->state = State::ready;
  }

  std::vector<std::unique_ptr<Fiber>> fibers_;
  ucontext_t scheduler_;
  const Body* body_ = nullptr;
  int threads_ = 0;
  int current_ = 0;
  int cluster_waiting_ = 0;
  bool met_ = false;
  std::vector<Block> blocks_;
  std::vector<int> group_waiting_;  // by the first thread of a group
  std::exception_ptr error_;
};

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
  int launches = 0;

  template <class Kernel, class Call>
  void launch(std::int64_t blocks, int threads, int shared_bytes, const Call& call,
              int cluster = 1) {
    static EmulatedCluster emulated;
    EmulatedCopies copies;
    ++launches;
    if (threads > Kernel::max_threads || threads % 32 != 0 || blocks % cluster != 0 ||
        cluster > fs::cuda::kMaxCluster)
      throw std::logic_error("a thread block or a cluster of this size cannot be launched");
    const bool backwards = order != nullptr && order->chance(0.5);
    for (std::int64_t b = 0; b < blocks; b += cluster) {
      // As aligned as shared memory is, and not zero.
      const std::size_t of_block = static_cast<std::size_t>(shared_bytes) / sizeof(Aligned) + 1;
      std::vector<Aligned> memory(of_block * static_cast<std::size_t>(cluster));
      std::memset(memory.data(), 0xa5, memory.size() * sizeof(Aligned));
      const std::int64_t first = backwards ? blocks - cluster - b : b;
      emulated.run(cluster, threads, order, [&](int index) {
        const int rank = index / threads;
        char* const shared =
            reinterpret_cast<char*>(memory.data() + of_block * static_cast<std::size_t>(rank));
        Kernel::run(
            EmulatedTeam{&emulated, &copies, index % threads, threads, rank, cluster, first + rank,
                         blocks, shared, static_cast<std::int64_t>(of_block * sizeof(Aligned))},
            call);
      });
      copies.end();
    }
  }

 private:
  struct alignas(16) Aligned {
    char bytes[16];
  };
};

}  // namespace tests
