// A validated call of softmax_topk or topk.
#pragma once

#include <cstdint>

#include "call.h"
#include "fastsoftmax/topk.hpp"

namespace fastsoftmax {

struct TopkCall {
  Call call;  // as logsumexp makes it; Layout::rows or Layout::packed
  std::int64_t k;
  bool selection = false;  // values are elements of x, not probabilities
  bool smallest = false;   // selection of the smallest
  Normalize normalize = Normalize::full;
  bool log = false;
  // Outputs, dense in C order.
  DType values_dtype;
  char* values;
  char* indices;
  char* logsumexp = nullptr;
  std::int64_t inner = 1;  // product of the lengths of the axes behind the reduced one
};

// Throw as topk.hpp says; `on_device` as for make_call.
TopkCall topk_call(const ConstView& x, std::int64_t k, int axis, const View& values,
                   const View& indices, const TopKOptions& options, const View* logsumexp,
                   bool on_device = false);
TopkCall topk_call(const ConstView& x, std::int64_t k, int axis, const View& values,
                   const View& indices, bool largest, int max_threads);

// Those that softmax_topk has in common with the functions of softmax.hpp.
Options options_of_rows(const TopKOptions& options);

// Carries it out; 0 < k, and there are rows.
void execute(const TopkCall& topk, int max_threads);

}  // namespace fastsoftmax
