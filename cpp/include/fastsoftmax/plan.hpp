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
  int rows_in_flight = 1;          // online_reload: 2 where a row is written while the next is summed
  std::int64_t block = 0;          // elements of a reduction block
  std::int64_t scratch_bytes = 0;  // per thread
  std::string reason;              // one sentence for each decision
};

Plan make_plan(const Problem& problem, Algorithm requested, const Caches& caches, int threads);

// The plan that softmax/log_softmax/logsumexp would follow for these arguments; the same checks
// and errors. `out` may have null data: the layout is judged by its strides alone.
Plan explain(Op op, const ConstView& x, const View& out, std::span<const int> axes,
             const Options& options = {});

}  // namespace fastsoftmax
