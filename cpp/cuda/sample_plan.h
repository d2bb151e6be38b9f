// How sample is carried out on a device: a pure function of the work and of the device.
#pragma once

#include "cuda/geometry.h"
#include "cuda/sample_call.h"

namespace fastsoftmax::cuda {

// Groups of a thread block that has a row for itself, each with room for a block of it.
inline constexpr int kSampleGroups = 8;
inline constexpr int kSampleThreads = kSampleGroups * kGroup;

struct SamplePlan {
  int threads;        // of a thread block
  int shared_bytes;   // dynamic
  std::int64_t rows;  // that are in work at a time, a thread block for each
  // Long rows: how many blocks of a row a thread block sums in a launch ahead, by a kernel that
  // needs few registers and lets several thread blocks share a row. 0: the thread block that has
  // the row sums them all.
  std::int64_t part_blocks;
};

SamplePlan make_sample_plan(const SampleCall& call, const Device& device);

// Memory on the device for each row in work: sums of its blocks and of those of a list, their
// masses; the k largest elements, their indices twice; and two lists of scores.
struct SampleWorkspace {
  std::int64_t blocks;
  std::int64_t sums_bytes;
  std::int64_t values_bytes;  // of the k largest
  std::int64_t list_bytes;    // of one list; 0 where there is no filter
  std::int64_t bytes;         // for a row

  explicit SampleWorkspace(const SampleCall& call);
};

}  // namespace fastsoftmax::cuda
