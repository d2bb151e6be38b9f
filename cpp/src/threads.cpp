#include "threads.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

namespace fastsoftmax {
namespace {

// Idle workers look for the next job this long before they sleep: the gap between two calls in a
// loop is shorter, and the cost when no call comes is nothing that shows.
constexpr auto kIdleSpin = std::chrono::microseconds(2);
// A caller that has run out of tasks waits for those still running, of which it knows that they
// end soon. It gives its CPU to whoever wants it meanwhile.
constexpr auto kJoinSpin = std::chrono::microseconds(50);

void pause_cpu() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#endif
}

// True as soon as done() is; false when `limit` has passed without.
template <class Condition>
bool spin(std::chrono::microseconds limit, Condition done) noexcept {
  const auto start = std::chrono::steady_clock::now();
  while (true) {
    for (int i = 0; i < 16; ++i) {
      if (done()) return true;
      pause_cpu();
    }
    const auto waited = std::chrono::steady_clock::now() - start;
    if (waited >= limit) return false;
    if (waited >= kIdleSpin) std::this_thread::yield();
  }
}

// `seats` is the whole state of a job: in the upper half the seats still free for workers, in the
// lower half the workers that have sat down. Who sits down takes the number of the seat as its
// worker number. A job is open while seats are free; whoever finds no task left takes the free
// seats away; the job is over when nobody sits. A worker that wakes up late therefore finds no
// seat and goes back to sleep, and no caller ever waits for it.
constexpr std::uint32_t kSeat = 1u << 16;
constexpr std::uint32_t kSeated = kSeat - 1;
static_assert(kMaxThreads < static_cast<int>(kSeat));

constexpr std::size_t kCacheLine = 64;

struct Pool {
  std::atomic<bool> busy{false};  // guards `workers` and who may open a job
  int workers = 0;                // threads started

  // The job; written while nobody sits.
  TaskFn fn = nullptr;
  void* context = nullptr;
  std::int64_t tasks = 0;

  alignas(kCacheLine) std::atomic<std::int64_t> next{0};
  alignas(kCacheLine) std::atomic<std::uint32_t> seats{0};
  alignas(kCacheLine) std::mutex mutex;
  std::condition_variable opened;    // a job has free seats
  std::condition_variable finished;  // nobody sits

  Pool* left_behind = nullptr;  // see forget_pool
};

// The pool is never destroyed: its workers sleep in it until the process ends, and a destructor
// that ran before that, among the static ones, would pull it from under them or wait for them.
constinit std::atomic<Pool*> current{nullptr};
constinit Pool* left_behind = nullptr;
thread_local bool in_task = false;

// A forked child has none of its parent's workers, and the pool's locks are in whatever state
// other threads held them in. The child therefore starts over without a pool. The old one can be
// neither used nor destroyed; it stays reachable, so that leak checkers do not report it.
void forget_pool() noexcept {
  Pool* const old = current.exchange(nullptr, std::memory_order_relaxed);
  if (old == nullptr) return;
  old->left_behind = left_behind;
  left_behind = old;
}

// Registered when the library is loaded: a flag that says "registered once" could itself be caught
// half-way by a fork.
[[maybe_unused]] const int kRegistered = pthread_atfork(nullptr, nullptr, [] { forget_pool(); });

Pool* shared_pool() noexcept {
  Pool* pool = current.load(std::memory_order_acquire);
  if (pool != nullptr) return pool;
  Pool* const fresh = new (std::nothrow) Pool;
  if (fresh == nullptr) return nullptr;
  if (current.compare_exchange_strong(pool, fresh, std::memory_order_acq_rel)) return fresh;
  delete fresh;
  return pool;
}

// The number of the seat taken; 0 where none is free.
int sit_down(Pool& pool) noexcept {
  std::uint32_t seen = pool.seats.load(std::memory_order_relaxed);
  while (seen >= kSeat) {
    if (pool.seats.compare_exchange_weak(seen, seen - kSeat + 1, std::memory_order_acquire,
                                         std::memory_order_relaxed)) {
      return static_cast<int>(seen / kSeat);
    }
  }
  return 0;
}

// Leaves a job without tasks; the last to do so tells the caller.
void stand_up(Pool& pool) noexcept {
  std::uint32_t seen = pool.seats.load(std::memory_order_relaxed);
  while (!pool.seats.compare_exchange_weak(seen, (seen & kSeated) - 1, std::memory_order_acq_rel,
                                           std::memory_order_relaxed)) {
  }
  if ((seen & kSeated) > 1) return;
  // A caller between its last look and its sleep holds the mutex: this waits for it to sleep.
  pool.mutex.lock();
  pool.mutex.unlock();
  pool.finished.notify_one();
}

void run_tasks(Pool& pool, int worker) noexcept {
  in_task = true;
  while (true) {
    const std::int64_t task = pool.next.fetch_add(1, std::memory_order_relaxed);
    if (task >= pool.tasks) break;
    pool.fn(pool.context, task, worker);
  }
  in_task = false;
}

// Wakes two sleepers where that many seats are free. They wake two each in turn, so that the time
// to wake all grows with the logarithm of their number.
void call_for_workers(Pool& pool) noexcept {
  const std::uint32_t free_seats = pool.seats.load(std::memory_order_relaxed) / kSeat;
  if (free_seats > 0) pool.opened.notify_one();
  if (free_seats > 1) pool.opened.notify_one();
}

[[noreturn]] void work(Pool& pool) noexcept {
  const auto open = [&] { return pool.seats.load(std::memory_order_relaxed) >= kSeat; };
  while (true) {
    const int seat = sit_down(pool);
    if (seat > 0) {
      call_for_workers(pool);
      run_tasks(pool, seat);
      stand_up(pool);
    }
    if (spin(kIdleSpin, open)) continue;
    std::unique_lock lock(pool.mutex);
    pool.opened.wait(lock, open);
  }
}

void* thread_main(void* pool) noexcept {
#ifdef __linux__
  pthread_setname_np(pthread_self(), "fastsoftmax");
#endif
  // A thread starts with the rounding and flushing modes of the one that created it; which thread
  // that was must not show in a result.
  std::fesetenv(FE_DFL_ENV);
  work(*static_cast<Pool*>(pool));
}

// Starts threads until there are `wanted`; says how many there are, at most `wanted`.
int start_workers(Pool& pool, int wanted) noexcept {
  if (pool.workers >= wanted) return wanted;
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return pool.workers;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);

  // Inherited by the new threads. Faults stay deliverable: they belong to the thread that causes
  // them, and a blocked one would bypass its handler.
  sigset_t blocked;
  sigset_t before;
  sigfillset(&blocked);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS}) {
    sigdelset(&blocked, fault);
  }
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  while (pool.workers < wanted) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, thread_main, &pool) != 0) break;
    ++pool.workers;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return pool.workers;
}

// The caller has set `busy`.
void run_shared(Pool& pool, int helpers, std::int64_t tasks, TaskFn fn, void* context) noexcept {
  pool.fn = fn;
  pool.context = context;
  pool.tasks = tasks;
  pool.next.store(0, std::memory_order_relaxed);
  {
    const std::lock_guard lock(pool.mutex);  // no worker is between its last look and its sleep
    pool.seats.store(static_cast<std::uint32_t>(helpers) * kSeat, std::memory_order_release);
  }
  call_for_workers(pool);
  run_tasks(pool, 0);

  pool.seats.fetch_and(kSeated, std::memory_order_relaxed);
  const auto over = [&] { return pool.seats.load(std::memory_order_acquire) == 0; };
  if (spin(kJoinSpin, over)) return;
  std::unique_lock lock(pool.mutex);
  pool.finished.wait(lock, over);
}

void run_alone(std::int64_t tasks, TaskFn fn, void* context) noexcept {
  const bool outer = std::exchange(in_task, true);
  for (std::int64_t task = 0; task < tasks; ++task) fn(context, task, 0);
  in_task = outer;
}

}  // namespace

void parallel_for(std::int64_t tasks, int threads, TaskFn fn, void* context) noexcept {
  const std::int64_t useful = std::min<std::int64_t>(std::min(threads, kMaxThreads), tasks);
  if (useful > 1 && !in_task) {
    Pool* const pool = shared_pool();
    if (pool != nullptr && !pool->busy.exchange(true, std::memory_order_acquire)) {
      const int helpers = start_workers(*pool, static_cast<int>(useful) - 1);
      if (helpers > 0) run_shared(*pool, helpers, tasks, fn, context);
      pool->busy.store(false, std::memory_order_release);
      if (helpers > 0) return;
    }
  }
  run_alone(tasks, fn, context);
}

}  // namespace fastsoftmax
