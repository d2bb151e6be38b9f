// What the threads of a block that samples a row tell each other in shared memory.
#pragma once

#include "cuda/parameters.h"
#include "cuda/sample_plan.h"

namespace fastsoftmax::cuda {

struct SampleParameters : Parameters {
  SampleRowOptions options;
  RowPlaces indices;
  RowPlaces logprobs;
  bool observed;  // `sums` are there already
  // For each row in work, and the bytes from one's to the next one's; `sums` likewise.
  kernels::BlockSum* list_sums;
  double* masses;
  std::int64_t most_k;
  char* values;
  std::int64_t* indices_of_values;
  char* list;
  char* spare;
  std::int64_t stride;
};

// What a group tells of its block.
struct SampleNote {
  double mass;
  double other;
  std::int64_t count;
};

struct SampleDesk {
  static constexpr int kFew = 64;  // kCounted of order.h

  const SampleParameters* call;
  kernels::SampleRow how;
  double temperature;  // of the scores; 1 where it is 0
  double shift;        // subtracted from every score
  bool valid;
  bool greedy;
  std::int64_t x;  // bytes to the row and to its mask
  std::int64_t where;
  std::int64_t found;
  SampleNote notes[kSampleGroups];
  double sample[kFew];  // of the arithmetic type, as the next two
  double keys[kFew];
  double terms[kFew];
};

inline constexpr int kSampleDeskBytes = (static_cast<int>(sizeof(SampleDesk)) + 63) / 64 * 64;

}  // namespace fastsoftmax::cuda
