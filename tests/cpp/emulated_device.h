// Thread blocks of the CUDA kernels on a CPU: every thread is a context of its own that runs to the
// next barrier or exchange. The threads take turns in an order that the launcher chooses, so that
// a kernel whose result depends on that order does not pass.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

#include "corpus.h"
#include "cuda/geometry.h"
#include "elements.h"

namespace tests {

class EmulatedBlock {
 public:
  using Body = std::function<void(int thread)>;

  // Runs body(0) to body(threads - 1). Throws std::logic_error where threads wait for each other
  // at different places.
  void run(int threads, Random* order, const Body& body) {
    while (fibers_.size() < static_cast<std::size_t>(threads))
      fibers_.push_back(std::make_unique<Fiber>());
    threads_ = threads;
    body_ = &body;
    block_waiting_ = 0;
    any_ = false;
    group_waiting_.assign(static_cast<std::size_t>(threads / fs::cuda::kGroup), 0);
    std::vector<int> turns(static_cast<std::size_t>(threads));
    std::iota(turns.begin(), turns.end(), 0);
    if (order != nullptr) {
      for (std::size_t i = turns.size(); i > 1; --i)
        std::swap(turns[i - 1],
                  turns[static_cast<std::size_t>(order->below(static_cast<std::int64_t>(i)))]);
    }
    for (int t = 0; t < threads; ++t) start(t);
    int running = threads;
    while (running > 0) {
      bool moved = false;
      for (const int t : turns) {
        Fiber& fiber = *fibers_[static_cast<std::size_t>(t)];
        if (fiber.state != State::ready) continue;
        moved = true;
        current_ = t;
        swapcontext(&scheduler_, &fiber.context);
        if (fiber.state == State::done) --running;
      }
      if (!moved) throw std::logic_error("threads wait for each other at different places");
    }
  }

  void sync() {
    if (++block_waiting_ < threads_) return wait();
    block_waiting_ = 0;
    any_of_all_ = std::exchange(any_, false);
    release(0, threads_);
  }

  // The other thread's value: both are there when the group has met.
  template <class T>
  T exchange(int thread, T v, int mask) {
    Fiber& fiber = *fibers_[static_cast<std::size_t>(thread)];
    const int turn = fiber.turn ^= 1;
    std::memcpy(fiber.slot[turn], &v, sizeof v);
    const int group = thread / fs::cuda::kGroup;
    int& waiting = group_waiting_[static_cast<std::size_t>(group)];
    if (++waiting < fs::cuda::kGroup) {
      wait();
    } else {
      waiting = 0;
      release(group * fs::cuda::kGroup, (group + 1) * fs::cuda::kGroup);
    }
    T other;
    std::memcpy(&other, fibers_[static_cast<std::size_t>(thread ^ mask)]->slot[turn], sizeof v);
    return other;
  }

  // Whether b holds for any thread.
  bool any(bool b) {
    any_ = any_ || b;
    sync();
    return any_of_all_;
  }

 private:
  enum class State { ready, waiting, done };
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
    auto* self = reinterpret_cast<EmulatedBlock*>(std::uintptr_t{high} << 32 | low);
    const int thread = self->current_;
    (*self->body_)(thread);
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
  int block_waiting_ = 0;
  std::vector<int> group_waiting_;
  bool any_ = false;
  bool any_of_all_ = false;
};

// What kernels see of it: team.h.
struct EmulatedTeam {
  EmulatedBlock* emulated;
  int thread_index;
  int thread_count;
  std::int64_t block_index;
  std::int64_t block_count;
  char* shared;

  int thread() const { return thread_index; }
  int threads() const { return thread_count; }
  std::int64_t block() const { return block_index; }
  std::int64_t blocks() const { return block_count; }
  void sync() const { emulated->sync(); }
  bool any_thread(bool b) const { return emulated->any(b); }
  void sync_group() const { emulated->exchange(thread_index, 0, 0); }
  template <class T>
  T exchange(T v, int mask) const {
    return emulated->exchange(thread_index, v, mask);
  }
};

struct EmulatedLauncher {
  Random* order = nullptr;  // of threads and of thread blocks; null: as they are counted
  int launches = 0;

  template <class Kernel, class Parameters>
  void launch(std::int64_t blocks, int threads, int shared_bytes, const Parameters& call) {
    static EmulatedBlock emulated;
    ++launches;
    if (threads > Kernel::max_threads || threads % 32 != 0)
      throw std::logic_error("a thread block of this size cannot be launched");
    const bool backwards = order != nullptr && order->chance(0.5);
    for (std::int64_t b = 0; b < blocks; ++b) {
      // As aligned as shared memory is, and not zero.
      std::vector<std::max_align_t> memory(
          static_cast<std::size_t>(shared_bytes) / sizeof(std::max_align_t) + 1);
      std::memset(memory.data(), 0xa5, memory.size() * sizeof(std::max_align_t));
      char* const shared = reinterpret_cast<char*>(memory.data());
      emulated.run(threads, order, [&](int thread) {
        Kernel::run(EmulatedTeam{&emulated, thread, threads, backwards ? blocks - 1 - b : b, blocks,
                                 shared},
                    call);
      });
    }
  }
};

}  // namespace tests
