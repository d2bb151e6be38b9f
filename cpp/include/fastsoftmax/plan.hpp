// What a call is going to do and why: a pure function of the problem and the machine.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "fastsoftmax/runtime.hpp"
#include "fastsoftmax/softmax.hpp"

namespace fastsoftmax {

// rows: the reduced elements of a row lie side by side.
// columns: the reduced axis is strided and an inner axis is contiguous; vectors run across it.
// packed: any other layout, type or mask; blocks are gathered into a buffer that fits in L1.
enum class Layout : std::uint8_t { rows, columns, packed };
std::string_view name(Layout layout) noexcept;

// What the plan depends on, and nothing else.
struct Problem {
  Op op = Op::softmax;
  DType dtype = DType::f32;  // of the result; decides the arithmetic type
  Layout layout = Layout::rows;
  std::int64_t rows = 0;        // independent reductions
  std::int64_t row_length = 0;  // elements of each
  std::int64_t columns = 1;     // Layout::columns: length of the contiguous inner axis
  int inputs = 1;               // arrays of that size that are read: 2 where gradients are computed
  bool in_place = false;
  bool stored_row = true;  // the output row can hold intermediate values (contiguous, f32 or f64)
};

struct Plan {
  Layout layout = Layout::rows;
  Algorithm algorithm = Algorithm::three_pass_reload;  // never automatic
  bool stream = false;                                 // stores bypass the cache
  int threads = 1;                                     // that take part, the caller included
  bool share_row = false;          // each row is cut into blocks that the threads share
  std::int64_t rows_per_task = 1;  // or blocks per task where share_row
  std::int64_t tile_columns = 1;   // Layout::columns: columns that one tile holds
  int rows_in_flight = 1;          // 2 where a row is written while the next is summed
  std::int64_t block = 0;          // elements of a reduction block
  std::int64_t scratch_bytes = 0;  // per thread
  const char* algorithm_reason = "";

  std::string reason() const;  // one sentence for each decision
};

// The constants of the plan that depend on the machine. They decide how long a call takes, never a
// bit of its result; docs/performance.md says what each rests on, tune.hpp how to measure them.
struct PlanConstants {
  // softmax stores exponentials (online_reload) where the output takes at most stream_bytes, where
  // a row fits in L2, and where x and y of the rows in work take at most so many bytes: with one
  // thread ...
  std::int64_t reload_bytes;
  // ... and with several, which share the last-level cache and the way to memory.
  std::int64_t parallel_reload_bytes;
  // log_softmax and logsumexp find the maximum first (three_pass_recompute) while what is
  // read and written of a row takes at most so many bytes; in batches larger than stream_bytes
  // while x and as much again take a quarter of them.
  std::int64_t recompute_bytes;
  // Stores of larger outputs bypass the cache.
  std::int64_t stream_bytes;
  // A thread takes part for each so many elements of a call.
  std::int64_t elements_per_thread;

  friend bool operator==(const PlanConstants&, const PlanConstants&) = default;
};

PlanConstants default_constants(const Caches& caches) noexcept;

struct Machine {
  Machine(const Caches& sizes) : Machine(sizes, default_constants(sizes)) {}
  Machine(const Caches& sizes, const PlanConstants& measured)
      : caches(sizes), constants(measured) {}

  Caches caches;
  PlanConstants constants;
};

Plan make_plan(const Problem& problem, Algorithm requested, const Machine& machine, int threads);

// The plan that softmax/log_softmax/logsumexp would follow for these arguments; the same checks
// and errors. `out` may have null data: the layout is judged by its strides alone.
Plan explain(Op op, const ConstView& x, const View& out, std::span<const int> axes,
             const Options& options = {});

}  // namespace fastsoftmax
