// Carries a plan out: hands rows, shared rows or tiles of columns to the kernels.
#pragma once

#include "call.h"

namespace fastsoftmax {

// Throws std::bad_alloc or UnsupportedIsa, and then has written nothing.
void execute(const Call& call, const Plan& plan);

}  // namespace fastsoftmax
