// The kernels of sample: a thread block for each row; and one that sums blocks of long rows ahead
// of it.
#pragma once

#include "cuda/outcome.h"
#include "cuda/sample_largest.h"
#include "cuda/sample_options.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Where the row is and how it is sampled, on the desk.
template <class Crew>
FASTSOFTMAX_HD inline void begin_row(const Crew& crew, const SampleParameters& call,
                                     std::int64_t row) {
  if (crew.first()) {
    SampleDesk& desk = crew.desk();
    desk.call = &call;
    const Offsets at = offsets_of(call.outer, row);
    desk.x = at.x;
    desk.where = at.where;
    desk.shift = 0.0;
    read_options<typename Crew::T>(call, row, desk);
  }
  crew.sync();
}

// The largest score, or NaN, of a row whose blocks have been summed.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] typename Crew::T max_of_row(Crew crew, std::int64_t blocks) {
  double max = -__builtin_inf();
  for (std::int64_t b = crew.team.thread(); b < blocks; b += crew.team.threads())
    max = larger_or_nan(max, crew.sums()[b].max);
  return static_cast<typename Crew::T>(max_of_team(crew, max));
}

// What a row without a softmax gives: what softmax_topk puts first, at temperature 1.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] std::int64_t first_by_key(Crew crew, std::int64_t length) {
  const SampleParameters& call = crew.call();
  crew.sync();
  if (crew.first()) crew.desk().temperature = 1.0;
  crew.sync();
  const auto admitted = [&](std::int64_t i) {
    return call.where == nullptr ||
           call.where[crew.desk().where + far_offsets_of(call.reduced, i).where] != 0;
  };
  const auto for_each = [&](auto&& body) {
    for (std::int64_t i = crew.team.thread(); i < length; i += crew.team.threads()) {
      if (admitted(i)) body(i, static_cast<double>(score_at(crew, nullptr, i)));
    }
  };
  double max = -__builtin_inf();
  for_each([&](std::int64_t, double score) { max = larger_or_nan(max, score); });
  max = max_of_team(crew, max);
  // Indices are exact in double.
  double last = -__builtin_inf();
  for_each([&](std::int64_t i, double score) {
    const bool is_first = max == max ? score == max : score != score;
    if (is_first) last = larger_or_nan(last, -static_cast<double>(i));
  });
  last = max_of_team(crew, last);
  return last > -__builtin_inf() ? static_cast<std::int64_t>(-last) : 0;
}

// The state of log_softmax: the sum leaves out the first maximum.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] RowState log_state_of(Crew crew, std::int64_t length,
                                                       typename Crew::T max) {
  using A = typename Crew::A;
  using T = typename Crew::T;
  RowTotal<true> total;
  for (std::int64_t b = 0; b < blocks_of<A>(length); ++b) {
    BlockSum sum = crew.sums()[b];
    if (static_cast<T>(sum.max) == max && total.max < static_cast<double>(max)) {
      const std::int64_t left = length - b * A::block;
      const int count = left < A::block ? static_cast<int>(left) : A::block;
      fetch(crew, nullptr, b * A::block, count);
      const Sum2 rest =
          sum_of(crew, count, static_cast<T>(sum.exponent), find_first(crew, count, max));
      sum.rest_hi = rest.hi;
      sum.rest_lo = rest.lo;
      sum.has_rest = true;
    }
    sum.max = static_cast<double>(max);
    total.join(sum);
  }
  return finish_row<A, true>(total);
}

template <class A>
struct SampleRows {
  static constexpr int max_threads = kSampleThreads;
  static constexpr int min_blocks = 1;
  using T = typename A::T;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const SampleParameters& call) {
    A::load_tables(team.thread());
    team.sync();
    const SampleCrew<A, Team> crew{team};
    for (std::int64_t r = team.block(); r < call.rows; r += team.blocks()) {
      begin_row(crew, call, call.first_row + r);
      T logprob = static_cast<T>(__builtin_nan(""));
      const std::int64_t index = crew.desk().valid ? run_row(crew, logprob) : -1;
      if (crew.first()) put(call, call.first_row + r, index, logprob);
      crew.sync();
    }
  }

 private:
  template <class Crew>
  FASTSOFTMAX_HD static std::int64_t run_row(const Crew& crew, T& logprob) {
    const std::int64_t length = crew.call().length;
    const std::int64_t blocks = blocks_of<A>(length);
    if (!crew.call().observed) sum_blocks(crew, nullptr, length, 0, blocks, crew.sums());
    crew.sync();
    T max = max_of_row(crew, blocks);
    if (!in_domain<A>(static_cast<double>(max))) {
      if (!(max - max == T(0))) return first_by_key(crew, length);
      if (crew.first()) crew.desk().shift = static_cast<double>(max);
      crew.sync();
      sum_blocks(crew, nullptr, length, 0, blocks, crew.sums());
      crew.sync();
      max = T(0);
    }
    const Drawn<T> drawn = draw_row(crew, length, blocks, max);
    if (crew.call().logprobs.data != nullptr) {
      const RowState log = log_state_of(crew, length, max);
      logprob = (drawn.score - static_cast<T>(log.max)) - static_cast<T>(log.log_sum);
    }
    return drawn.index;
  }

  template <class Crew>
  FASTSOFTMAX_HD static Drawn<T> draw_row(const Crew& crew, std::int64_t length,
                                          std::int64_t blocks, T max) {
    const SampleDesk& desk = crew.desk();
    SampleWork<Crew> work{crew, nullptr, length, max, 0.0};
    if (desk.greedy) return {work.find_equal(max, 0), max};
    const SampleRow& how = desk.how;
    if (how.top_k == 0) work.total = weigh_blocks(crew, crew.sums(), blocks);
    if (!is_filtered(how)) return work.draw(uniforms(how.random, 0));
    Filtered<SampleWork<Crew>> row{work};
    row.apply_to_scores(how, RowState{});
    if (how.top_k > 0) limit_to_largest(crew, how, row);
    row.apply(how, row.remaining.by_value.bound == -infinity<T>() ? work.total : 0.0);
    if (how.top_k == 0) return row.draw_remaining(how.random);
    Drawn<T> drawn = row.work.draw_listed(row.remaining, uniforms(how.random, 0));
    if (row.work.source != nullptr) drawn.index = crew.indices()[drawn.index];
    return drawn;
  }

  // Those become what is drawn from; but where nearness to the mean counts, elements as near to it
  // on both sides are taken by index, and so from the row.
  template <class Crew>
  FASTSOFTMAX_HD static void limit_to_largest(const Crew& crew, const SampleRow& how,
                                              Filtered<SampleWork<Crew>>& row) {
    SampleWork<Crew>& work = row.work;
    const T* const values = crew.values();
    const std::int64_t count = select_largest_of(work.lists(), work.length, how.top_k);
    if (how.typical_p < 1.0) {
      const T least = values[count - 1];
      row.remaining.shorten(
          {least, count_in(crew, values, count, [&](T z) { return z == least; })});
    } else {
      work.source = values;
      work.length = count;
    }
  }

  FASTSOFTMAX_HD static void put(const SampleParameters& call, std::int64_t row, std::int64_t index,
                                 T logprob) {
    *reinterpret_cast<std::int64_t*>(place_of(call.indices, row)) = index;
    if (call.logprobs.data == nullptr) return;
    char* const at = place_of(call.logprobs, row);
    if constexpr (sizeof(T) == sizeof(double))
      A::store(reinterpret_cast<double*>(at), logprob);
    else if (call.dtype == DType::f32)
      A::store(reinterpret_cast<float*>(at), logprob);
    else if (call.dtype == DType::f16)
      A::store(reinterpret_cast<f16*>(at), logprob);
    else
      A::store(reinterpret_cast<bf16*>(at), logprob);
  }
};

// Sums of blocks of rows, which several thread blocks may share.
template <class A>
struct SampleParts {
  static constexpr int max_threads = kSampleThreads;
  static constexpr int min_blocks = 1;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const SampleParameters& call) {
    A::load_tables(team.thread());
    team.sync();
    const std::int64_t blocks = blocks_of<A>(call.length);
    const std::int64_t parts = (blocks + call.part_blocks - 1) / call.part_blocks;
    const std::int64_t r = team.block() / parts;
    const std::int64_t first = (team.block() - r * parts) * call.part_blocks;
    const std::int64_t last = first + call.part_blocks;
    const SampleCrew<A, Team> crew{team};
    begin_row(crew, call, call.first_row + r);
    auto* const sums =
        reinterpret_cast<BlockSum*>(reinterpret_cast<char*>(call.sums) + r * call.stride);
    if (crew.desk().valid)
      sum_blocks(crew, nullptr, call.length, first, last < blocks ? last : blocks, sums);
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
