// Carries a plan out: hands rows, shared rows or tiles of columns to the kernels.
#pragma once

#include "call.h"

namespace fastsoftmax {

// The plan for a call on this machine, with at most so many threads (0: num_threads()).
Plan plan_for(const Problem& problem, Algorithm requested, int max_threads);
Plan plan_for(const Call& call, Algorithm requested, int max_threads);

// Throws std::bad_alloc or UnsupportedIsa, and then has written nothing.
void execute(const Call& call, const Plan& plan);

}  // namespace fastsoftmax
