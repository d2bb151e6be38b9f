// A call of the core in the terms of the CUDA backend.
#pragma once

#include "call.h"
#include "cuda/interface.h"

namespace fastsoftmax::cuda {

// Throws InvalidType for element types that kernels would have to convert, InvalidArgument for
// elements that are not aligned, for temperatures in an array, and for more than kMaxAxes axes.
RowsCall rows_call(const Call& call);

}  // namespace fastsoftmax::cuda
