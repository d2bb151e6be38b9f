// From the sums of a row and the scores of its k largest elements to what a job asks for.
#pragma once

#include "kernels/rows.h"
#include "kernels/select.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::kIrregular;
using kernels::TopkJob;
using kernels::TopkOutcome;

// What is summed besides: nothing; what softmax needs; what a logarithm needs as well.
enum class Sums { none, all, rest };

inline Sums sums_of(const TopkJob& job) {
  if (job.outcome == TopkOutcome::log_softmax || job.logsumexp != nullptr) return Sums::rest;
  return job.outcome == TopkOutcome::softmax ? Sums::all : Sums::none;
}

template <Sums S>
struct SumsTag {
  static constexpr Sums sums = S;
};
template <class F>
inline void with_sums(const TopkJob& job, F&& f) {
  switch (sums_of(job)) {
    case Sums::none:
      return f(SumsTag<Sums::none>{});
    case Sums::all:
      return f(SumsTag<Sums::all>{});
    case Sums::rest:
      return f(SumsTag<Sums::rest>{});
  }
}

// The normalizers that the outcome needs. False where the row is not regular.
template <class A, bool Log>
inline bool normalize(const TopkJob& job, const RowTotal<Log>& total, RowState& state,
                      typename A::T& logsumexp) {
  if constexpr (Log) {
    state = finish_row<A, true>(total);
    if (state.kind != RowState::regular) return false;
    logsumexp = static_cast<typename A::T>(state.max + state.log_sum);
    if (job.outcome != TopkOutcome::softmax) return true;
  }
  RowTotal<false> all;
  all.all = total.all;
  all.out_of_domain = total.out_of_domain;
  state = finish_row<A, false>(all);
  return state.kind == RowState::regular;
}

// Makes the outcome of the scores that are in job.values.
template <class A>
inline void put_outcome(const TopkJob& job, std::int64_t row, const RowState& state,
                        typename A::T logsumexp) {
  using T = typename A::T;
  T* const values = static_cast<T*>(job.values) + row * job.k;
  std::int64_t above = job.k;
  while (above > 0 && values[above - 1] == -infinity<T>()) --above;
  job.regular[row] = above;
  if (job.logsumexp != nullptr) static_cast<T*>(job.logsumexp)[row] = logsumexp;
  if (job.outcome == TopkOutcome::scores) return;
  const std::int64_t blocks = blocks_of<A>(job.k);
  DirectSource<T> scores{values};
  DirectSink<T> sink{values, false};
  if (job.outcome == TopkOutcome::softmax)
    write_softmax<A>(scores, sink, job.k, state, 0, blocks);
  else
    write_log_softmax<A, false>(scores, sink, job.k, state, 0, blocks);
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
