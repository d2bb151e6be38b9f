// Statistics of the softmax of rows on a device: what the core tells libfastsoftmax_cuda.
#pragma once

#include "cuda/interface.h"

namespace fastsoftmax::cuda {

// x and where as for rows; y is null. Of each result an element for each row, dense, of x's type.
// There is one reduced axis at most; with columns `inner` is the last of the outer axes.
struct StatsResults {
  char* max;
  char* logsumexp;
  char* entropy;
  char* top1;
  char* margin;
};
struct StatsCall : RowsCall, StatsResults {};

}  // namespace fastsoftmax::cuda
