// The gradients' side of interface.h.
#pragma once

#include "cuda/interface.h"

namespace fastsoftmax::cuda {

struct BackwardAxis {
  std::int64_t size;
  std::int64_t grad;
  std::int64_t output;
  std::int64_t result;
  std::int64_t temperature;
};
struct BackwardAxes {
  int count;
  BackwardAxis axis[kMaxAxes];  // in C order; the last varies fastest
};

// The gradient of the scores, from that of what `op` gave, softmax or log_softmax, and from the
// output itself.
struct BackwardCall {
  kernels::RowOp op;
  DType dtype;    // of grad, output and result; a floating type
  Layout layout;  // of all three
  double temperature;
  const char* temperatures;  // null: `temperature` for all rows
  DType temperature_dtype;   // any
  const char* grad;
  const char* output;
  char* result;
  std::int64_t rows;  // with columns: without the inner axis
  std::int64_t length;
  BackwardAxes outer;
  BackwardAxes reduced;
  BackwardAxis inner;  // of columns: the contiguous axis
};

}  // namespace fastsoftmax::cuda
