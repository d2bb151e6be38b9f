// The thread pool: every task once, worker numbers, nesting, concurrency, fork, signals, exit.
#include "threads.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cfenv>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <thread>
#include <vector>

#include "child_process.h"

namespace {

using fastsoftmax::parallel_for;
using std::chrono::steady_clock;

// parallel_for with a callable.
template <class Body>
void each(std::int64_t tasks, int threads, Body body) {
  parallel_for(
      tasks, threads,
      [](void* context, std::int64_t task, int worker) noexcept {
        (*static_cast<Body*>(context))(task, worker);
      },
      &body);
}

// Whether every one of `tasks` ran exactly once, with a worker number that was in range and that no
// other running task had.
bool runs_each_once(std::int64_t tasks, int threads) {
  std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
  std::vector<std::atomic<int>> occupants(static_cast<std::size_t>(std::max(threads, 1)));
  std::atomic<int> mistakes{0};
  each(tasks, threads, [&](std::int64_t task, int worker) {
    if (worker < 0 || worker >= std::max(threads, 1)) {
      ++mistakes;
      return;
    }
    auto& occupant = occupants[static_cast<std::size_t>(worker)];
    if (occupant.fetch_add(1) != 0) ++mistakes;
    ++runs[static_cast<std::size_t>(task)];
    if (task % 7 == 0) std::this_thread::yield();
    occupant.fetch_sub(1);
  });
  const bool once = std::all_of(runs.begin(), runs.end(), [](const auto& n) { return n == 1; });
  return once && mistakes == 0;
}

// Whether `threads` tasks run at the same time: each waits for all the others.
bool meet(int threads) {
  std::atomic<int> arrived{0};
  const auto deadline = steady_clock::now() + std::chrono::seconds(10);
  each(threads, threads, [&](std::int64_t, int) {
    ++arrived;
    while (arrived < threads && steady_clock::now() < deadline) std::this_thread::yield();
  });
  return steady_clock::now() < deadline;
}

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

TEST_CASE("threads: every task runs once, and no worker number is used twice at a time") {
  for (const std::int64_t tasks : {0, 1, 2, 3, 10, 1000}) {
    for (const int threads : {-1, 0, 1, 2, 3, 8}) {
      CAPTURE(tasks);
      CAPTURE(threads);
      CHECK(runs_each_once(tasks, threads));
    }
  }
}

TEST_CASE("threads: the pool grows, and a smaller call takes no more than it asks for") {
  for (const int threads : {2, 4, 3, 8, 2, 16, 4}) {
    CAPTURE(threads);
    CHECK(meet(threads));
    CHECK(runs_each_once(500, threads));
  }
}

TEST_CASE("threads: tasks are handed out in order") {
  std::vector<std::int64_t> order;
  each(100, 1, [&](std::int64_t task, int worker) {
    CHECK(worker == 0);
    order.push_back(task);
  });
  CHECK(order.size() == 100);
  CHECK(std::is_sorted(order.begin(), order.end()));

  constexpr int kThreads = 4;
  std::array<std::vector<std::int64_t>, kThreads> per_worker;
  each(1000, kThreads, [&](std::int64_t task, int worker) {
    per_worker[static_cast<std::size_t>(worker)].push_back(task);
  });
  for (const auto& tasks : per_worker) CHECK(std::is_sorted(tasks.begin(), tasks.end()));
}

TEST_CASE("threads: results of the tasks are visible to the caller") {
  std::vector<std::int64_t> values(10000);  // plain memory: ThreadSanitizer watches it
  for (std::int64_t round = 0; round < 20; ++round) {
    each(10000, 4,
         [&](std::int64_t task, int) { values[static_cast<std::size_t>(task)] += task + round; });
  }
  for (std::int64_t task = 0; task < 10000; ++task) {
    REQUIRE(values[static_cast<std::size_t>(task)] == 20 * task + 190);
  }
}

TEST_CASE("threads: a nested call runs on the thread that makes it, as worker 0") {
  for (const int outer_threads : {1, 4}) {
    std::atomic<int> inner_runs{0};
    std::atomic<int> mistakes{0};
    each(50, outer_threads, [&](std::int64_t, int) {
      const auto self = std::this_thread::get_id();
      each(20, 4, [&](std::int64_t, int worker) {
        if (worker != 0 || std::this_thread::get_id() != self) ++mistakes;
        ++inner_runs;
      });
    });
    CHECK(inner_runs == 50 * 20);
    CHECK(mistakes == 0);
  }
  CHECK(meet(4));
}

TEST_CASE("threads: callers from several threads at once") {
  std::atomic<int> failures{0};
  std::vector<std::thread> callers;
  callers.reserve(4);
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&failures, caller] {
      for (int round = 0; round < 300; ++round) {
        if (!runs_each_once(1 + (round * 7 + caller) % 40, 1 + round % 5)) ++failures;
      }
    });
  }
  for (auto& caller : callers) caller.join();
  CHECK(failures == 0);
  CHECK(meet(3));
}

TEST_CASE("threads: a hundred thousand tiny jobs") {
  const int jobs = CHILD_MAY_START_THREADS != 0 ? 100'000 : 20'000;  // fewer under its sanitizer
  std::atomic<std::int64_t> total{0};
  for (int job = 0; job < jobs; ++job) {
    each(3, 2 + job % 3,
         [&](std::int64_t task, int) { total.fetch_add(task + 1, std::memory_order_relaxed); });
  }
  CHECK(total == std::int64_t{6} * jobs);
}

TEST_CASE("threads: workers block signals, save for faults, and the caller's mask is kept") {
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, nullptr, &before);
  std::atomic<int> arrived{0};
  std::atomic<int> mistakes{0};
  each(20, 20, [&](std::int64_t, int worker) {
    ++arrived;
    while (arrived < 20) std::this_thread::yield();
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGALRM, SIGCHLD}) {
      const int expected = worker == 0 ? sigismember(&before, signal) : 1;
      if (sigismember(&mask, signal) != expected) ++mistakes;
    }
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
      if (sigismember(&mask, signal) != 0) ++mistakes;
    }
  });
  CHECK(mistakes == 0);
  sigset_t after;
  pthread_sigmask(SIG_BLOCK, nullptr, &after);
  for (int signal = 1; signal < 32; ++signal) {
    CHECK(sigismember(&before, signal) == sigismember(&after, signal));
  }
}

TEST_CASE("threads: workers round to nearest whatever the thread that started them does") {
  std::fesetround(FE_UPWARD);
  std::atomic<int> arrived{0};
  std::atomic<int> mistakes{0};
  constexpr int kMore = 24;  // than any test before: some are started here
  each(kMore, kMore, [&](std::int64_t, int worker) {
    ++arrived;
    while (arrived < kMore) std::this_thread::yield();
    if (std::fegetround() != (worker == 0 ? FE_UPWARD : FE_TONEAREST)) ++mistakes;
  });
  std::fesetround(FE_TONEAREST);
  CHECK(mistakes == 0);
}

TEST_CASE("threads: an idle pool sleeps") {
  CHECK(meet(8));
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(cpu_seconds() - before < 0.05);
}

#if CHILD_MAY_START_THREADS

namespace {

// 0 where the pool works in this process.
int pool_works() { return meet(3) && runs_each_once(200, 4) ? 0 : 1; }

}  // namespace

TEST_CASE("threads: a child forked before and after use has a pool that works") {
  CHECK(in_child([] {
          // Nothing has used the pool of this child yet, nor that of its own child.
          return in_child(pool_works) == 0 ? 0 : 2;
        }) == 0);
  CHECK(pool_works() == 0);
  CHECK(in_child(pool_works) == 0);
  CHECK(in_child([] {
          if (pool_works() != 0) return 1;
          if (in_child(pool_works) != 0) return 2;
          return pool_works();
        }) == 0);
  CHECK(pool_works() == 0);
}

TEST_CASE("threads: a fork while another thread is inside a job") {
  std::atomic<int> running{0};
  std::atomic<bool> release{false};
  std::thread caller([&] {
    each(3, 3, [&](std::int64_t, int) {
      ++running;
      while (!release) std::this_thread::yield();
    });
  });
  while (running < 3) std::this_thread::yield();
  const int child = in_child(pool_works);
  release = true;
  caller.join();
  CHECK(child == 0);
  CHECK(pool_works() == 0);
}

TEST_CASE("threads: forks at any moment of jobs that another thread runs") {
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::thread caller([&] {
    for (int round = 0; !stop; ++round) {
      if (!runs_each_once(3, 2 + round % 4)) ++failures;
    }
  });
  for (int round = 0; round < 40; ++round) CHECK(in_child(pool_works) == 0);
  stop = true;
  caller.join();
  CHECK(failures == 0);
}

#if CHILD_MAY_EXIT
TEST_CASE("threads: the process ends cleanly while workers sleep or run") {
  CHECK(in_child([] {
          if (!meet(4)) return 1;
          std::exit(0);
        }) == 0);
  CHECK(in_child([]() -> int {
          std::atomic<int> running{0};
          std::thread([&running] {
            each(3, 3, [&](std::int64_t, int) {
              ++running;
              while (true) std::this_thread::yield();
            });
          }).detach();
          while (running < 3) std::this_thread::yield();
          std::exit(0);
        }) == 0);
}
#endif

TEST_CASE("threads: where no thread can be started the caller does the work") {
  const int code = in_child([] {
    constexpr uid_t kNobody = 65534;
    if (geteuid() == 0 && setuid(kNobody) != 0) return 77;  // the limit does not bind root
    const rlimit none{0, 0};
    if (setrlimit(RLIMIT_NPROC, &none) != 0) return 77;
    bool alone = true;
    each(100, 8, [&](std::int64_t, int worker) { alone = alone && worker == 0; });
    if (!alone) return 1;
    return runs_each_once(100, 8) ? 0 : 2;
  });
  if (code == 77) {
    MESSAGE("not tested: cannot limit the number of threads here");
  } else {
    CHECK(code == 0);
  }
}

#endif
