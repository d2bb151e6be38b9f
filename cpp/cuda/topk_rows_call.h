// A selection of the core in the terms of the CUDA backend.
#pragma once

#include "cuda/selection.h"
#include "topk_call.h"

namespace fastsoftmax::cuda {

// Throws as rows_call does (device_call.h), and InvalidArgument for rows that are too long.
TopkRowsCall topk_rows_call(const TopkCall& topk);

}  // namespace fastsoftmax::cuda
