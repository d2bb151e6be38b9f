// Blocks of rows in shared memory, in their storage type. Every group has slots of its own, one for
// a block, which it fills in the order in which it comes to the blocks, row after row.
//
// With bulk copies a slot that is released gets the next block to come at once, so that the copies
// never wait for the arithmetic. Otherwise the group copies a block when it comes to it.
#pragma once

#include "cuda/bulk_copy.h"
#include "cuda/crew.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class A, class In, class Crew>
class Slots {
 public:
  FASTSOFTMAX_HD Slots(const Crew& crew, const Parameters& call) : crew_(crew), call_(call) {
    if (!call.bulk || crew.s() != 0) return;
    FASTSOFTMAX_ROLLED
    for (int i = 0; i < call.slots; ++i) {
      crew.team->begin_copies(barrier(i));
      fetch(i, crew.crew(), first_start(), i);
    }
  }

  FASTSOFTMAX_HD bool there() const { return call_.slots > 0; }

  // The block that the group comes to next, which begins at `start`.
  template <class Row>
  FASTSOFTMAX_HD const char* next(const Row& row, std::int64_t start, int count) {
    char* const at = slot(next_);
    if (call_.bulk)
      crew_.team->await_copy(barrier(next_), phase_);
    else
      copy(row, start, count, at);
    if (++next_ == call_.slots) {
      next_ = 0;
      phase_ ^= 1;
    }
    return at;
  }

  // The oldest that has not been released,
  FASTSOFTMAX_HD const char* oldest() const { return slot(oldest_); }
  // which has the block of this row that begins at `start`.
  FASTSOFTMAX_HD void release(std::int64_t row, std::int64_t start) {
    if (call_.bulk) {
      crew_.team->end_reads();
      crew_.team->sync_group();
      if (crew_.s() == 0) fetch(oldest_, row, start, call_.slots);
    }
    if (++oldest_ == call_.slots) oldest_ = 0;
  }

 private:
  static constexpr int block_bytes = A::block * static_cast<int>(sizeof(In));

  FASTSOFTMAX_HD char* slot(int i) const {
    return crew_.behind_desk() + (crew_.group() * call_.slots + i) * slot_bytes(block_bytes);
  }
  FASTSOFTMAX_HD CopyBarrier* barrier(int i) const {
    return reinterpret_cast<CopyBarrier*>(slot(i) + block_bytes);
  }
  FASTSOFTMAX_HD std::int64_t first_start() const { return crew_.place() * std::int64_t{A::block}; }

  // Of the blocks of this group, the one that comes so many after the one at `start`.
  FASTSOFTMAX_HD void fetch(int i, std::int64_t row, std::int64_t start, int after) const {
    const std::int64_t stride = crew_.places() * std::int64_t{A::block};
    FASTSOFTMAX_ROLLED
    for (; after > 0; --after) {
      start += stride;
      if (start < call_.length) continue;
      start = first_start();
      row += crew_.crews();
    }
    if (row >= call_.rows || start >= call_.length) return;
    const std::int64_t left = call_.length - start;
    const int count = left < A::block ? static_cast<int>(left) : A::block;
    const int item = static_cast<int>(sizeof(In));
    crew_.team->start_copy(barrier(i), slot(i),
                           call_.x + offsets_of(call_.outer, row).x + start * item, count * item);
  }

  // Each thread what it will read.
  template <class Row>
  FASTSOFTMAX_HD void copy(const Row& row, std::int64_t start, int count, char* to) const {
    using Packed = typename Row::Packed;
    Packed packs[kTermsPerLane];
    load_packs(row, start, count, crew_.s(), packs);
    auto* const mine = reinterpret_cast<Packed*>(to) + crew_.s();
    FASTSOFTMAX_UNROLL
    for (int k = 0; k < kTermsPerLane; ++k) mine[k * kGroup] = packs[k];
  }

  const Crew& crew_;
  const Parameters& call_;
  int next_ = 0;
  int phase_ = 0;
  int oldest_ = 0;
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
