// parallel_for with a callable, in the default floating-point environment.
#pragma once

#include <cstdint>

#include "threads.h"

#define FASTSOFTMAX_ISA baseline
#include "simd/vec_common.h"

namespace fastsoftmax {

// body(task, worker), which must not throw.
template <class Body>
void for_tasks(std::int64_t tasks, int threads, Body body) {
  const auto run = [](void* p, std::int64_t task, int worker) noexcept {
    const baseline::DefaultFloatEnvironment environment;
    (*static_cast<Body*>(p))(task, worker);
  };
  parallel_for(tasks, threads, run, &body);
}

}  // namespace fastsoftmax
