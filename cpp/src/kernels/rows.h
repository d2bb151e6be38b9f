// Runs of rows: the passes of row.h and row_output.h put together as each algorithm has them,
// special values included.
#pragma once

#include "kernels/row_output.h"
#include "kernels/short_rows.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::RowsJob;

inline double temperature_of(const RowsJob& job, std::int64_t row) {
  double temperature = 1.0;
  if (job.temperatures != nullptr)
    __builtin_memcpy(&temperature,
                     static_cast<const char*>(job.temperatures) + row * job.temperature_stride,
                     sizeof temperature);
  return temperature;
}

// Rows that lie in memory as they are: contiguous, of type In, temperature 1.
template <class Arithmetic, class Element>
struct DirectRows {
  using A = Arithmetic;
  using In = Element;
  using T = typename A::T;
  static constexpr bool is_memory = true;

  static const In* x(const RowsJob& job, std::int64_t row) {
    return reinterpret_cast<const In*>(static_cast<const char*>(job.x) + row * job.x_stride);
  }
  static In* y(const RowsJob& job, std::int64_t row) {
    return reinterpret_cast<In*>(static_cast<char*>(job.y) + row * job.y_stride);
  }
  static DirectSource<In> source(const RowsJob& job, std::int64_t row) { return {x(job, row)}; }
  static DirectSink<In> sink(const RowsJob& job, std::int64_t row) {
    return {y(job, row), job.stream};
  }
  static GatheredSource<A> gathered(const RowsJob& job, std::int64_t row) {
    return {fetch_contiguous<A, In>, x(job, row), 0, T(1)};
  }
  static T* stored(const RowsJob& job, std::int64_t row) {
    if constexpr (sizeof(In) == sizeof(T)) {
      if (job.scratch == nullptr) return y(job, row);
    }
    return static_cast<T*>(job.scratch);
  }
  static void put(const RowsJob& job, std::int64_t row, T value) {
    A::store(y(job, row), A::set1(value), 1);
  }
};

// Rows behind fetch and store.
template <class Arithmetic>
struct GatheredRows {
  using A = Arithmetic;
  using T = typename A::T;
  static constexpr bool is_memory = false;

  static GatheredSource<A> source(const RowsJob& job, std::int64_t row) {
    return {job.fetch, job.context, job.first_row + row, static_cast<T>(temperature_of(job, row))};
  }
  static GatheredSource<A> gathered(const RowsJob& job, std::int64_t row) {
    return source(job, row);
  }
  static GatheredSink<A> sink(const RowsJob& job, std::int64_t row) {
    return {job.store, job.context, job.first_row + row};
  }
  static T* stored(const RowsJob& job, std::int64_t) { return static_cast<T*>(job.scratch); }
  static void put(const RowsJob& job, std::int64_t row, T value) {
    job.store(job.context, job.first_row + row, 0, 1, &value);
  }
};

// body(source) for the scores of a row under its temperature, where kernels have no use for rows of
// temperature 1 alone.
template <class Rows, class Body>
inline auto with_scores(const RowsJob& job, std::int64_t row, Body&& body) {
  if constexpr (Rows::is_memory) {
    const double temperature = temperature_of(job, row);
    if (temperature != 1.0) {
      using A = typename Rows::A;
      using Row = ScaledRow<A, typename Rows::In>;
      const Row scaled{Rows::x(job, row), static_cast<typename A::T>(temperature)};
      GatheredSource<A> source(Row::fetch, &scaled, 0, typename A::T(1));
      return body(source);
    }
  }
  auto source = Rows::source(job, row);
  return body(source);
}

template <RowOp O>
constexpr bool takes_log = O != RowOp::softmax;

template <RowAlgorithm G>
constexpr bool one_pass =
    G == RowAlgorithm::two_pass || G == RowAlgorithm::online || G == RowAlgorithm::online_reload;
template <RowAlgorithm G>
constexpr bool reloads = G == RowAlgorithm::three_pass_reload || G == RowAlgorithm::online_reload;

template <class A>
typename A::T* block_exponents(const RowsJob& job) {
  return job.length > A::block ? static_cast<typename A::T*>(job.block_exponents) : nullptr;
}

template <class Rows, RowOp O, RowAlgorithm G, class Source, class Sink>
void write_regular(const RowsJob& job, std::int64_t row, Source& source, Sink& sink,
                   const RowState& state, std::int64_t first, std::int64_t last) {
  using A = typename Rows::A;
  using T = typename A::T;
  constexpr bool online_reload = G == RowAlgorithm::online_reload;
  if constexpr (O == RowOp::logsumexp) {
    if (first == 0) Rows::put(job, row, static_cast<T>(state.max + state.log_sum));
  } else if constexpr (reloads<G> && O == RowOp::softmax) {
    const StoredBlocks<T> stored{Rows::stored(job, row),
                                 online_reload ? block_exponents<A>(job) : nullptr};
    write_stored_softmax<A>(stored, sink, job.length, state, first, last);
  } else if constexpr (reloads<G>) {
    DirectSource<T> stored{Rows::stored(job, row)};
    write_log_softmax<A, true>(stored, sink, job.length, state, first, last);
  } else if constexpr (O == RowOp::softmax) {
    write_softmax<A>(source, sink, job.length, state, first, last);
  } else {
    write_log_softmax<A, false>(source, sink, job.length, state, first, last);
  }
}

template <class Rows, RowOp O>
void write_constant(const RowsJob& job, std::int64_t row, typename Rows::T value,
                    std::int64_t first, std::int64_t last) {
  if constexpr (O == RowOp::logsumexp) {
    if (first == 0) Rows::put(job, row, value);
  } else {
    auto sink = Rows::sink(job, row);
    fill_blocks<typename Rows::A>(sink, job.length, value, first, last);
  }
}

// The largest element of a row; NaN where there is one.
template <class A>
[[gnu::noinline]] typename A::T max_or_nan(GatheredSource<A>& source, std::int64_t length) {
  using T = typename A::T;
  T max = -infinity<T>();
  T nan = 0;
  const std::int64_t blocks = blocks_of<A>(length);
  for_each_block<A>(length, 0, blocks, [&](std::int64_t, std::int64_t start, int count) {
    const T* x = source.block(start, count);
    for (int i = 0; i < count; ++i) {
      nan = x[i] == x[i] ? nan : x[i];
      max = x[i] > max ? x[i] : max;
    }
  });
  return nan == nan ? max : nan;
}

// body(source) for the scores of a row less their maximum, if that is finite.
template <class Rows, class Body>
inline void with_shifted(const RowsJob& job, std::int64_t row, Body&& body) {
  using T = typename Rows::T;
  auto source = Rows::gathered(job, row);
  if constexpr (Rows::is_memory) source.temperature = static_cast<T>(temperature_of(job, row));
  const T max = max_or_nan<typename Rows::A>(source, job.length);
  if (!(max < infinity<T>() && max > -infinity<T>())) return;
  source.shift = max;
  body(source);
}

// A row whose maximum lies outside the domain of the extended exponential: NaN, infinities, or
// finite values so large that the maximum must be subtracted first. Reads x more often; nothing of
// it depends on the algorithm.
template <class Rows, RowOp O>
[[gnu::noinline]] void exceptional_row(const RowsJob& job, std::int64_t row) {
  using A = typename Rows::A;
  using T = typename A::T;
  const T nan = static_cast<T>(__builtin_nan(""));
  auto source = Rows::gathered(job, row);
  const std::int64_t blocks = blocks_of<A>(job.length);
  const T max = max_or_nan<A>(source, job.length);
  if (max != max) return write_constant<Rows, O>(job, row, nan, 0, blocks);
  if (max == infinity<T>())
    return write_constant<Rows, O>(job, row, O == RowOp::logsumexp ? max : nan, 0, blocks);
  if (max == -infinity<T>()) {
    const T zero = O == RowOp::softmax ? T(0) : max;
    const bool as_zero = O == RowOp::logsumexp || job.empty_is_zero;
    return write_constant<Rows, O>(job, row, as_zero ? zero : nan, 0, blocks);
  }
  source.shift = max;
  constexpr RowAlgorithm recompute = RowAlgorithm::three_pass_recompute;
  RowTotal<takes_log<O>> total;
  const RowScan scan = scan_blocks<A>(source, job.length, 0, blocks);
  sum_three_pass<A, takes_log<O>>(source, job.length, scan, nullptr, 0, blocks, {&total, nullptr});
  RowState state = finish_row<A, takes_log<O>>(total);
  if constexpr (O == RowOp::logsumexp) state.max = static_cast<double>(max);
  auto sink = Rows::sink(job, row);
  write_regular<Rows, O, recompute>(job, row, source, sink, state, 0, blocks);
}

// Several rows, pass by pass, for the reason that short_rows.h gives.
template <class Rows, RowOp O, RowAlgorithm G>
void run_passes(const RowsJob& job, std::int64_t first, int rows) {
  using A = typename Rows::A;
  using T = typename A::T;
  constexpr bool online_reload = G == RowAlgorithm::online_reload;
  constexpr bool reload = G == RowAlgorithm::three_pass_reload && O != RowOp::logsumexp;
  const std::int64_t blocks = blocks_of<A>(job.length);
  RowScan scan[kBatchRows];
  RowTotal<takes_log<O>> total[kBatchRows];
  RowState state[kBatchRows];
  if constexpr (!one_pass<G>) {
    for (int r = 0; r < rows; ++r) {
      auto source = Rows::source(job, first + r);
      scan[r] = scan_blocks<A>(source, job.length, 0, blocks);
    }
  }
  for (int r = 0; r < rows; ++r) {
    auto source = Rows::source(job, first + r);
    total[r] = {};
    const BlockSums<takes_log<O>> join{&total[r], nullptr};
    if constexpr (one_pass<G>) {
      StoredBlocks<T> stored;
      if (online_reload) stored = {Rows::stored(job, first + r), block_exponents<A>(job)};
      sum_one_pass<A, takes_log<O>, G>(source, job.length, 0, blocks, join, stored);
    } else if (in_domain<A>(scan[r].max)) {
      T* stored = reload ? Rows::stored(job, first + r) : nullptr;
      sum_three_pass<A, takes_log<O>>(source, job.length, scan[r], stored, 0, blocks, join);
    } else {
      total[r].out_of_domain = true;
    }
  }
  finish_rows<A, takes_log<O>>(total, state, rows);
  for (int r = 0; r < rows; ++r) {
    if (state[r].kind == RowState::exceptional) {
      exceptional_row<Rows, O>(job, first + r);
    } else if (state[r].kind == RowState::all_nan) {
      write_constant<Rows, O>(job, first + r, static_cast<T>(__builtin_nan("")), 0, blocks);
    } else {
      auto source = Rows::source(job, first + r);
      auto sink = Rows::sink(job, first + r);
      write_regular<Rows, O, G>(job, first + r, source, sink, state[r], 0, blocks);
    }
  }
}

// Where in `scratch` terms go, within a page. A load waits for the stores ahead of it that lie a
// multiple of a page away from it, or nearly: x, the terms of two rows and y (as x, as a rule) are
// kept apart.
inline char* apart(char* scratch, const void* x, std::int64_t turn) {
  constexpr std::uintptr_t page = kernels::kScratchSlack;
  const std::uintptr_t wanted = reinterpret_cast<std::uintptr_t>(x) + (turn == 0 ? 1024 : 2560);
  return scratch + (wanted - reinterpret_cast<std::uintptr_t>(scratch)) % page / 64 * 64;
}

// Two rows in flight, for outputs on their way to memory: between the sums of a row's blocks the
// row ahead of it is written, so that reading, arithmetic and writing take place at the same time.
template <class Rows, RowOp O, RowAlgorithm G>
void run_interleaved(const RowsJob& job) {
  using A = typename Rows::A;
  using T = typename A::T;
  const std::int64_t blocks = blocks_of<A>(job.length);
  const auto stored = [&](std::int64_t row) -> StoredBlocks<T> {
    if constexpr (!reloads<G>) return {};
    char* const scratch = static_cast<char*>(job.scratch) + row % 2 * job.scratch_stride;
    T* const exponents = static_cast<T*>(job.block_exponents) + row % 2 * blocks;
    return {reinterpret_cast<T*>(apart(scratch, Rows::x(job, row), row % 2)), exponents};
  };
  RowState ahead{};
  ahead.kind = RowState::exceptional;
  for (std::int64_t row = 0; row <= job.rows; ++row) {
    const bool sums = row < job.rows;
    const bool writes = ahead.kind == RowState::regular;
    RowTotal<takes_log<O>> total;
    for (std::int64_t b = 0; b < blocks; ++b) {
      if (sums) {
        auto source = Rows::source(job, row);
        sum_one_pass<A, takes_log<O>, G>(source, job.length, b, b + 1, {&total, nullptr},
                                         stored(row));
      }
      if (writes) {
        auto sink = Rows::sink(job, row - 1);
        if constexpr (reloads<G>) {
          write_stored_softmax<A>(stored(row - 1), sink, job.length, ahead, b, b + 1);
        } else {
          auto source = Rows::source(job, row - 1);
          write_log_softmax<A, false>(source, sink, job.length, ahead, b, b + 1);
        }
      }
    }
    if (!sums) return;
    ahead = finish_row<A, takes_log<O>>(total);
    if (ahead.kind == RowState::exceptional)
      exceptional_row<Rows, O>(job, row);
    else if (ahead.kind == RowState::all_nan)
      write_constant<Rows, O>(job, row, static_cast<T>(__builtin_nan("")), 0, blocks);
  }
}

template <RowOp O, RowAlgorithm G>
constexpr bool may_interleave = (O == RowOp::softmax && G == RowAlgorithm::online_reload) ||
                                (O == RowOp::log_softmax && G == RowAlgorithm::online);

template <class Rows>
auto short_rows_of(const RowsJob& job, std::int64_t first) {
  using In = typename Rows::In;
  return ShortRows<typename Rows::A, In>{Rows::x(job, first), job.x_stride,
                                         Rows::y(job, first), job.y_stride,
                                         job.rows - first,    static_cast<int>(job.length),
                                         job.stream};
}

template <class Rows, RowOp O, RowAlgorithm G>
void run_all(const RowsJob& job) {
  using A = typename Rows::A;
  constexpr bool in_memory = O == RowOp::softmax && reloads<G> && Rows::is_memory;
  if constexpr (Rows::is_memory && may_interleave<O, G>) {
    if (job.interleave && job.length > A::block) return run_interleaved<Rows, O, G>(job);
  }
  // Scratch holds the terms of one row.
  const int batch = job.scratch != nullptr
                        ? 1
                        : batch_of(job.length, takes_log<O> ? 4 * kBatchElements : kBatchElements);
  for (std::int64_t row = 0; row < job.rows;) {
    if constexpr (in_memory) {
      if (job.length <= A::block) {
        row += short_rows_of<Rows>(job, row).run();
        if (row == job.rows) return;
      }
    }
    const std::int64_t left = job.rows - row;
    const int rows = left < batch ? static_cast<int>(left) : batch;
    run_passes<Rows, O, G>(job, row, rows);
    row += rows;
  }
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
