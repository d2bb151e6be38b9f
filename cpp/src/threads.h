// A small pool of worker threads: lazy, fork-safe, sized by num_threads(). No OpenMP, so no clash
// with other runtimes.
#pragma once

#include <cstdint>

namespace fastsoftmax {

// No call uses more threads, whatever is asked for.
inline constexpr int kMaxThreads = 1024;

// How many tasks of b make up a.
constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

using TaskFn = void (*)(void* context, std::int64_t task, int worker) noexcept;

// Runs fn(context, t, w) for every t in [0, tasks) on up to `threads` threads, the caller included,
// and returns when all are done. `worker` is in [0, threads): no two tasks run at once with the
// same worker number, so it may index scratch memory. Tasks are handed out in order, dynamically.
// Calls from several threads at once and from inside a task are fine (a nested call, or one that
// finds the pool busy, runs its tasks on the calling thread with worker = 0). Where threads cannot
// be started, fewer take part. A fork is fine at any time, except from inside a task. Workers
// block signals, so that handlers run on the program's own threads.
void parallel_for(std::int64_t tasks, int threads, TaskFn fn, void* context) noexcept;

}  // namespace fastsoftmax
