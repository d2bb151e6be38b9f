// libfastsoftmax_cuda, found at the first call that needs it.
#pragma once

#include "cuda/interface.h"
#include "fastsoftmax/cuda.hpp"

namespace fastsoftmax::cuda {

// Throws Unavailable with the reason.
const Table& table();

// Throws Unavailable for an error that one of the table's functions returned.
void check(const Table& functions, int error);

}  // namespace fastsoftmax::cuda
