// Sorting by a thread block: Batcher's bitonic network, chunk by chunk in shared memory where the
// candidates are not there already.
#pragma once

#include "cuda/topk_threshold.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// The network's steps from `stride` down to `least` for runs of `size`, on the candidates
// [first, first + count) of all.
template <class Key, class Team>
FASTSOFTMAX_HD inline void merge_steps(const Team& team, Ranked<Key>* candidates,
                                       std::int64_t count, std::int64_t first, std::int64_t size,
                                       std::int64_t stride, std::int64_t least) {
  for (; stride >= least; stride /= 2) {
    for (std::int64_t i = team.thread(); i < count / 2; i += team.threads()) {
      const std::int64_t inside = i & (stride - 1);
      const std::int64_t low = 2 * (i - inside) + inside;
      Ranked<Key>& a = candidates[low];
      Ranked<Key>& b = candidates[low + stride];
      const bool descending = ((first + low) & size) == 0;
      if (comes_before(b, a) == descending) {
        const Ranked<Key> moved = a;
        a = b;
        b = moved;
      }
    }
    team.sync();
  }
}

// Descending; count is a power of two. `shared` has room for `at_once`, a power of two, or is where
// the candidates are. All threads call it, behind a barrier.
template <class Key, class Team>
FASTSOFTMAX_HD inline void sort(const Team& team, Ranked<Key>* candidates, std::int64_t count,
                                Ranked<Key>* shared, std::int64_t at_once) {
  const std::int64_t chunk = count < at_once ? count : at_once;
  FASTSOFTMAX_ROLLED
  for (std::int64_t sorted = chunk; sorted <= count; sorted *= 2) {
    if (sorted > chunk) merge_steps(team, candidates, count, 0, sorted, sorted / 2, chunk);
    for (std::int64_t first = 0; first < count; first += chunk) {
      if (candidates != shared) {
        for (std::int64_t i = team.thread(); i < chunk; i += team.threads())
          shared[i] = candidates[first + i];
        team.sync();
      }
      for (std::int64_t s = sorted > chunk ? sorted : 2; s <= sorted; s *= 2)
        merge_steps(team, shared, chunk, first, s, (s < chunk ? s : chunk) / 2, 1);
      if (candidates != shared) {
        for (std::int64_t i = team.thread(); i < chunk; i += team.threads())
          candidates[first + i] = shared[i];
        team.sync();
      }
    }
  }
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
