// How a selection is carried out on a device: a pure function of the work and of the device. It
// cannot change a result.
//
// Short rows of which few elements are wanted: a group for each row does everything. Others, for as
// many rows at a time as have room for what is left of them:
//   observe    a group for each block of a row: its sum, and the largest key of each thread
//   join       a warp for each row: what becomes of it, from the sums of its blocks
//   exceptional  a thread block for each row, which it sums again where it is outside the domain
//   choose     a thread block for each row: the k first, and what they become
//   normalize  where that is a softmax of their own
#pragma once

#include <cstdint>

#include "cuda/geometry.h"
#include "cuda/plan.h"
#include "cuda/selection.h"

namespace fastsoftmax::cuda {

inline constexpr int kObserveThreads = 128;
inline constexpr int kFetchThreads = 32;
inline constexpr int kExceptionalThreads = 256;
inline constexpr int kChooseThreads = 512;

// Candidates for the k first: a larger key comes first, among equal ones a larger place, which
// counts from the row's end.
template <class Key>
struct Ranked {
  Key key;
  Key place;
};
// So that places and counts have 32 bits.
inline constexpr std::int64_t kLongestSelectedRow = UINT32_MAX;

// Bytes from the beginning of the workspace. What is not needed has no size.
struct TopkWorkspace {
  std::int64_t sums;
  std::int64_t maxima;
  std::int64_t outcomes;
  std::int64_t scores;      // of the selected elements
  std::int64_t candidates;  // of each thread block that chooses
  std::int64_t rows;        // what the normalization needs
  std::int64_t bytes;
};

// Of a row that a group has for itself: elements that are wanted, since it looks at the row once
// for each, and elements of a lane.
inline constexpr int kFew = 16;
inline constexpr int kShortSteps = 4;

struct TopkPlan {
  std::int64_t short_blocks;  // where groups have rows for themselves; nothing else counts then
  std::int64_t rows_in_flight;
  bool sums;            // blocks are summed
  bool maxima;          // keys are kept, so that few elements are read a second time
  int observe_threads;  // of a thread block, and so on
  std::int64_t observe_blocks;
  std::int64_t join_blocks;
  int join_shared_bytes;
  int exceptional_threads;
  int exceptional_shared_bytes;
  int choose_threads;
  std::int64_t choose_blocks;
  int choose_shared_bytes;
  std::int64_t capacity;  // of candidates, a power of two, and at least k
  int sorted_at_once;  // in shared memory, a power of two; fewer than `capacity` where candidates
                       // are in the workspace
  int pieces_at_once;  // whose maxima are looked at between two barriers
  Plan rows;           // of the normalization
  std::int64_t store_blocks;
  TopkWorkspace workspace;
};

TopkPlan make_topk_plan(const TopkRowsCall& call, const Device& device);

// The selected scores of all rows, softmax or log_softmax of which is to be formed in place.
RowsCall selected_rows(const TopkRowsCall& call, char* scores);

}  // namespace fastsoftmax::cuda
