// A call of softmax_topk or topk as it crosses to the CUDA library.
#pragma once

#include "cuda/interface.h"

namespace fastsoftmax::cuda {

enum class Picked : int { elements, scores, softmax, log_softmax };

struct Selection {
  std::int64_t k;  // 1 to length
  // What of the selected elements goes to `values`: themselves; softmax over them alone (scores), a
  // logarithm where the call's op is log_softmax; or the row's softmax or its logarithm.
  Picked picked;
  bool smallest;     // of elements: the smallest in place of the largest
  bool zero_is_one;  // a temperature of 0 in an array stands for 1
  // Dense in C order, `inner` elements from one of a row to the next.
  std::int64_t inner;
  char* values;
  std::int64_t* indices;
  char* logsumexp;  // one for each row, or null
};

// One axis is reduced, y is not used, and layout is rows or gathered. With Picked::elements dtype
// may be any; everything is admitted then, and the temperature is 1.
struct TopkRowsCall : RowsCall {
  int item;  // bytes of an element of x
  Selection selection;
};

}  // namespace fastsoftmax::cuda
