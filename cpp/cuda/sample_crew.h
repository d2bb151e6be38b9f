// The threads of a block that samples a row, and how the row and lists of its scores come to them.
// A group has one block at a time, in shared memory, where thread s has what it has of a Tile.
#pragma once

#include "cuda/sample_desk.h"
#include "cuda/tile_sum.h"
#include "kernels/order.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

static_assert(SampleDesk::kFew == kCounted);

// By value, so that it stays in registers.
template <class Arithmetic, class Team>
struct SampleCrew {
  using A = Arithmetic;
  using T = typename A::T;
  using Packed = Pack<T, kPerThread<A>>;
  static constexpr int size = kGroup;

  Team team;

  FASTSOFTMAX_HD int s() const { return team.thread() % kGroup; }
  FASTSOFTMAX_HD int group() const { return team.thread() / kGroup; }
  FASTSOFTMAX_HD int groups() const { return team.threads() / kGroup; }
  FASTSOFTMAX_HD bool first() const { return team.thread() == 0; }
  template <class V>
  FASTSOFTMAX_HD V exchange(V v, int mask) const {
    return team.exchange(v, mask);
  }
  FASTSOFTMAX_HD void sync() const { team.sync(); }

  FASTSOFTMAX_HD const SampleParameters& call() const { return *desk().call; }
  FASTSOFTMAX_HD SampleDesk& desk() const { return *reinterpret_cast<SampleDesk*>(team.shared); }
  FASTSOFTMAX_HD T* sample() const { return reinterpret_cast<T*>(desk().sample); }
  FASTSOFTMAX_HD T* keys() const { return reinterpret_cast<T*>(desk().keys); }
  FASTSOFTMAX_HD T* terms() const { return reinterpret_cast<T*>(desk().terms); }
  // This group's block.
  FASTSOFTMAX_HD T* buffer() const {
    return reinterpret_cast<T*>(team.shared + kSampleDeskBytes + group() * kBlockBytes);
  }

  // Of the row that this thread block has.
  FASTSOFTMAX_HD BlockSum* sums() const { return mine(call().sums); }
  FASTSOFTMAX_HD BlockSum* list_sums() const { return mine(call().list_sums); }
  FASTSOFTMAX_HD double* masses() const { return mine(call().masses); }
  FASTSOFTMAX_HD T* values() const { return mine(reinterpret_cast<T*>(call().values)); }
  FASTSOFTMAX_HD std::int64_t* indices() const { return mine(call().indices_of_values); }
  FASTSOFTMAX_HD T* list() const { return mine(reinterpret_cast<T*>(call().list)); }
  FASTSOFTMAX_HD T* spare() const { return mine(reinterpret_cast<T*>(call().spare)); }

 private:
  template <class V>
  FASTSOFTMAX_HD V* mine(V* of_all) const {
    return reinterpret_cast<V*>(reinterpret_cast<char*>(of_all) + team.block() * call().stride);
  }
};

// The row, of elements In.
template <class In, Layout L, class Crew>
FASTSOFTMAX_HD inline Row<typename Crew::A, In, L> row_of(const Crew& crew) {
  const SampleDesk& desk = crew.desk();
  Row<typename Crew::A, In, L> row(crew.call(), {desk.x, 0, desk.where});
  row.temperature = static_cast<typename Crew::T>(desk.temperature);
  row.shift = static_cast<typename Crew::T>(desk.shift);
  return row;
}
template <class Crew>
FASTSOFTMAX_HD inline auto list_at(const Crew& crew, const typename Crew::T* list) {
  using T = typename Crew::T;
  Row<typename Crew::A, T, Layout::rows> row(crew.call(), {});
  row.x = reinterpret_cast<const char*>(list);
  row.temperature = T(1);
  row.aligned_x = true;
  return row;
}

// body(access) for a list, or for the row where that is null.
template <class Crew, class Body>
FASTSOFTMAX_HD inline void with_source(const Crew& crew, const typename Crew::T* list,
                                       Body&& body) {
  const bool direct = crew.call().layout == Layout::rows;
  const auto of_type = [&](auto element) {
    using In = decltype(element);
    if (direct)
      body(row_of<In, Layout::rows>(crew));
    else
      body(row_of<In, Layout::gathered>(crew));
  };
  if (list != nullptr) return body(list_at(crew, list));
  if constexpr (sizeof(typename Crew::T) == sizeof(double)) {
    of_type(double{});
  } else {
    if (crew.call().dtype == DType::f32)
      of_type(float{});
    else if (crew.call().dtype == DType::f16)
      of_type(f16{});
    else
      of_type(bf16{});
  }
}

// An element, for any thread.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] typename Crew::T score_at(Crew crew, const typename Crew::T* list,
                                                           std::int64_t index) {
  using A = typename Crew::A;
  typename Crew::T score = 0;
  with_source(crew, list, [&](const auto& row) {
    typename Crew::T v[kPerThread<A>];
    row.read(index, 1, v);
    score = v[0];
  });
  return score;
}

// body(at, pack) for the packs that this thread has of `count` elements in its group's buffer.
template <class Crew, class Body>
FASTSOFTMAX_HD inline void for_each_own(const Crew& crew, int count, Body&& body) {
  using A = typename Crew::A;
  FASTSOFTMAX_ROLLED
  for (int k = 0; k * A::lanes < count; ++k) {
    const int at = k * A::lanes + crew.s() * kPerThread<A>;
    body(at, *reinterpret_cast<typename Crew::Packed*>(crew.buffer() + at));
  }
}

// At most so many packs of a thread are under way at a time.
inline constexpr int kFetchedAtOnce = 8;

template <class Crew, class Row>
FASTSOFTMAX_HD inline void copy_block(const Crew& crew, const Row& row, std::int64_t start,
                                      int count) {
  using A = typename Crew::A;
  FASTSOFTMAX_ROLLED
  for (int done = 0; done < count; done += kFetchedAtOnce * A::lanes) {
    Tile<A, kFetchedAtOnce> z;
    load_tile(row, start + done, count - done, crew.s(), z);
    for_each_pack<A, kFetchedAtOnce>(crew.s(), count - done, [&](int k, int at, int inside) {
      if (inside <= 0) return;
      typename Crew::Packed pack;
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < kPerThread<A>; ++c) pack.v[c] = z.v[k][c];
      *reinterpret_cast<typename Crew::Packed*>(crew.buffer() + done + at) = pack;
    });
  }
}

// Elements from `start` on, to this group's buffer.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] void fetch(Crew crew, const typename Crew::T* list,
                                            std::int64_t start, int count) {
  with_source(crew, list, [&](const auto& row) {
    if (list != nullptr || crew.call().layout == Layout::rows)
      copy_block(crew, row, start, count);
    else
      for_each_own(crew, count,
                   [&](int at, auto& pack) { row.read(start + at, count - at, pack.v); });
  });
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
