// What the constants below rest on, and how to measure them, is in docs/performance.md.
#include <algorithm>
#include <string>

#include "call.h"
#include "kernels/kernel_table.h"

namespace fastsoftmax {
namespace {

using kernels::kBlockF32;
using kernels::kBlockF64;
using kernels::kMaxTileColumns;
using kernels::kTileColumns;

// A thread with less to do costs more to wake than it saves.
constexpr std::int64_t kElementsPerThread = 64 << 10;
// A task is large enough to hide its hand-out and small enough to balance the load.
constexpr std::int64_t kElementsPerTask = 32 << 10;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

bool is_f64(DType dtype) { return dtype == DType::f64; }

struct Sizes {
  std::int64_t item;        // bytes of an element
  std::int64_t arithmetic;  // bytes of one in the arithmetic type
  std::int64_t row;         // bytes of a row of x
};

// Columns of a tile: as many as fill the memory for lanes.
std::int64_t tile_columns(const Problem& p) {
  if (p.layout != Layout::columns) return 1;
  const std::int64_t lanes = is_f64(p.dtype) ? kernels::kLanesF64 : kernels::kLanesF32;
  const std::int64_t used = std::clamp<std::int64_t>(p.row_length, 1, lanes);
  const std::int64_t fitting = lanes / used * kTileColumns;
  return std::min<std::int64_t>({p.columns, fitting, kMaxTileColumns});
}

// Whether stored exponentials have somewhere to go: the output row itself, or a buffer that stays
// in cache.
bool can_reload(const Problem& p, const Sizes& sizes, const Caches& caches) {
  const std::int64_t room = p.layout == Layout::columns ? caches.l2 / 2 : caches.last_level / 8;
  return p.stored_row || p.row_length * tile_columns(p) * sizes.arithmetic <= room;
}

// Memory for the stored exponentials of one of two rows in flight.
std::int64_t scratch_of_row_in_flight(const Problem& p, const Sizes& sizes) {
  return divide_up(p.row_length * sizes.arithmetic, 64) * 64 + kernels::kScratchSlack;
}

// A copy of a tile is worth its while where it stays in cache and either the tile's rows lie far
// apart or its stores bypass the cache, which need another place for exponentials.
bool copies_tile(const Problem& p, const Sizes& sizes, const Caches& caches, bool stream) {
  const std::int64_t tile = p.row_length * tile_columns(p) * sizes.arithmetic;
  return p.layout == Layout::columns && p.columns >= kernels::kDenseColumns &&
         (p.columns > tile_columns(p) || stream) && tile > caches.l1 / 2 &&
         tile <= caches.last_level / 8;
}

bool is_short(const Problem& p) {
  return p.row_length <= (is_f64(p.dtype) ? kernels::kLanesF64 : kernels::kLanesF32);
}

// What stands in for an algorithm that the problem does not allow, and why.
struct Substitute {
  Algorithm algorithm;
  const char* reason;
};

Substitute feasible(const Problem& p, Algorithm wanted, bool reload) {
  if (wanted == Algorithm::online_reload) {
    if (p.op != Op::softmax)
      return {Algorithm::online, "keeps no exponentials, because the logarithm needs none"};
    if (p.layout == Layout::columns)
      wanted = Algorithm::three_pass_reload;
    else if (p.in_place && p.stored_row)
      return {Algorithm::three_pass_reload,
              "finds the maximum first, because in place exponentials overwrite the scores"};
    else if (!reload)
      return {Algorithm::online,
              "keeps no exponentials, because those of such a row would not stay in cache"};
    else
      return {wanted, nullptr};
    if (reload)
      return {wanted, "finds the maximum first, as reloading does where the axis is strided"};
  }
  if (wanted == Algorithm::three_pass_reload && !reload)
    return {Algorithm::three_pass_recompute,
            "recomputes, because stored exponentials of such a row would not stay in cache"};
  return {wanted, nullptr};
}

// Whether x and y are too large to stay in the last-level cache from one call to the next.
bool is_from_memory(const Problem& p, const Sizes& sizes, const PlanConstants& constants) {
  return p.rows * sizes.row > constants.stream_bytes;
}

// Whether it pays to store exponentials and to read them again, in the way that is feasible.
bool favours_reload(const Plan& plan, const Problem& p, const Sizes& sizes, Algorithm way,
                    const Machine& here) {
  if (way != Algorithm::online_reload) return 2 * sizes.row <= here.caches.last_level;
  const PlanConstants& constants = here.constants;
  if (!is_from_memory(p, sizes, constants)) return true;
  const int rows_in_work = plan.share_row ? 1 : plan.threads;
  const std::int64_t limit =
      plan.threads == 1 ? constants.reload_bytes : constants.parallel_reload_bytes;
  return 2 * sizes.row <= std::max(here.caches.l2, limit / rows_in_work);
}

// Whether it pays to find the maximum before the sum of a logarithmic operation. In a row of a
// single block there is nothing to gain: online finds its maximum first, too. Threads that share a
// row have it in their own caches after the first pass, or in the one they share.
bool favours_recompute(const Plan& plan, const Problem& p, const Sizes& sizes,
                       const Machine& here) {
  const PlanConstants& constants = here.constants;
  if (p.layout == Layout::rows && p.row_length <= plan.block) return false;
  if (is_from_memory(p, sizes, constants)) return 2 * sizes.row <= constants.recompute_bytes / 4;
  if (plan.share_row) return 2 * sizes.row <= here.caches.last_level / 2;
  const std::int64_t written = p.op == Op::logsumexp ? 0 : sizes.row;
  return sizes.row + written <= constants.recompute_bytes;
}

void choose_algorithm(Plan& plan, const Problem& p, const Sizes& sizes, Algorithm requested,
                      const Machine& here) {
  const bool reload = can_reload(p, sizes, here.caches);
  if (requested != Algorithm::automatic) {
    const Substitute s = feasible(p, requested, reload);
    plan.algorithm = s.algorithm;
    plan.algorithm_reason = s.reason == nullptr ? "as requested" : s.reason;
  } else if (p.op == Op::softmax) {
    const Algorithm way = feasible(p, Algorithm::online_reload, reload).algorithm;
    if (reload && favours_reload(plan, p, sizes, way, here)) {
      plan.algorithm = way;
      plan.algorithm_reason = "one exponential per element decides";
    } else {
      plan.algorithm = Algorithm::online;
      plan.algorithm_reason =
          reload ? "the row does not stay in cache, so the fewest reads and writes decide"
                 : "there is no room to store exponentials, so the fewest reads decide";
    }
  } else if (favours_recompute(plan, p, sizes, here)) {
    plan.algorithm = Algorithm::three_pass_recompute;
    plan.algorithm_reason = "the row stays in cache, so the least arithmetic decides";
  } else {
    plan.algorithm = Algorithm::online;
    plan.algorithm_reason = p.layout == Layout::rows && p.row_length <= plan.block
                                ? "a row of a single block needs no pass for its maximum"
                                : "the row does not stay in cache, so the fewest reads decide";
  }
}

bool reloads(Algorithm algorithm) {
  return algorithm == Algorithm::three_pass_reload || algorithm == Algorithm::online_reload;
}

// Two rows in flight are worth their memory where reading and writing take turns otherwise: always
// where exponentials need a buffer anyway, else on the way to memory.
bool interleaves(const Plan& plan, const Problem& p, const Sizes& sizes, const Machine& here) {
  const bool reload = plan.algorithm == Algorithm::online_reload;
  const bool log = plan.algorithm == Algorithm::online && p.op == Op::log_softmax;
  if (p.inputs > 1 || !(reload || log) || p.layout != Layout::rows || p.rows < 2 ||
      plan.share_row || p.row_length <= plan.block)
    return false;
  const std::int64_t kept = 2 * p.row_length * (reload ? sizes.arithmetic : sizes.item);
  if (reload && !p.stored_row) return kept <= here.caches.last_level / 4;
  return kept <= (reload ? here.caches.l2 / 8 : here.caches.last_level / 4) &&
         2 * p.rows * sizes.row >= here.constants.stream_bytes;
}

// Whether contiguous rows are long enough to bypass the cache: short ones share lines with their
// neighbours, and are too soon done for the memory to be read meanwhile.
bool may_stream(const Plan& plan, const Problem& p) {
  if (p.row_length > plan.block) return true;
  const bool gradient = p.inputs > 1;
  return 2 * p.row_length > plan.block && gradient != (p.op == Op::log_softmax);
}

void choose_stores(Plan& plan, const Problem& p, const Sizes& sizes, const Machine& here) {
  if (interleaves(plan, p, sizes, here)) {
    plan.rows_in_flight = 2;
    // A task's last row is written with no other row to sum.
    constexpr std::int64_t fewest = 4;
    plan.rows_per_task =
        std::max(plan.rows_per_task, std::min(fewest, divide_up(p.rows, plan.threads)));
  }
  if (p.op == Op::logsumexp || p.layout == Layout::packed || p.in_place) return;
  const bool outgrows_half = 2 * p.rows * sizes.row >= here.constants.stream_bytes;
  if (p.inputs > 1)
    plan.stream = outgrows_half && (p.layout == Layout::columns || may_stream(plan, p));
  else if (p.layout == Layout::columns)
    plan.stream = outgrows_half && p.op == Op::softmax && reloads(plan.algorithm) &&
                  p.columns >= kernels::kDenseColumns &&
                  (is_short(p) || copies_tile(p, sizes, here.caches, true));
  else if (plan.rows_in_flight > 1)
    plan.stream = outgrows_half;
  else if (!reloads(plan.algorithm) || !p.stored_row || p.row_length <= plan.block)
    plan.stream = may_stream(plan, p) && is_from_memory(p, sizes, here.constants);
}

void choose_threads(Plan& plan, const Problem& p, const PlanConstants& constants, int threads) {
  const std::int64_t elements = p.rows * p.row_length;
  const std::int64_t useful = std::max<std::int64_t>(1, elements / constants.elements_per_thread);
  plan.threads = static_cast<int>(std::min<std::int64_t>(threads, useful));
  const std::int64_t blocks = divide_up(p.row_length, plan.block);
  if (p.layout == Layout::columns) {
    plan.rows_per_task = plan.tile_columns;
  } else if (plan.threads > 1 && p.rows < plan.threads && blocks >= 2 * plan.threads) {
    plan.share_row = true;
    plan.rows_per_task =
        std::clamp<std::int64_t>(divide_up(blocks, std::int64_t{4} * plan.threads), 1,
                                 std::max<std::int64_t>(1, 8 * kElementsPerTask / plan.block));
  } else {
    const std::int64_t length = std::max<std::int64_t>(1, p.row_length);
    plan.rows_per_task = std::clamp<std::int64_t>(
        kElementsPerTask / length, 1, std::max<std::int64_t>(1, divide_up(p.rows, plan.threads)));
    plan.threads = static_cast<int>(
        std::min<std::int64_t>(plan.threads, divide_up(p.rows, plan.rows_per_task)));
  }
  plan.threads = std::max(plan.threads, 1);
}

}  // namespace

std::string_view name(Layout layout) noexcept {
  switch (layout) {
    case Layout::rows:
      return "rows";
    case Layout::columns:
      return "columns";
    case Layout::packed:
      return "packed";
  }
  return "unknown";
}

PlanConstants default_constants(const Caches& caches) noexcept {
  PlanConstants constants{};
  constants.reload_bytes = 64 * caches.last_level;
  constants.parallel_reload_bytes = caches.last_level / 8 * 3;
  constants.recompute_bytes = caches.l2 / 2;
  constants.stream_bytes = caches.last_level;
  constants.elements_per_thread = kElementsPerThread;
  return constants;
}

std::string Plan::reason() const {
  std::string text = std::string("algorithm: ") + algorithm_reason;
  if (stream) text += "; stores bypass the cache: the arrays outgrow it";
  if (share_row)
    text += "; threads share each row, block by block";
  else if (threads > 1)
    text += "; threads take rows";
  return text;
}

Plan make_plan(const Problem& p, Algorithm requested, const Machine& machine, int threads) {
  Plan plan;
  plan.layout = p.layout;
  plan.block = is_f64(p.dtype) ? kBlockF64 : kBlockF32;
  Sizes sizes{};
  sizes.item = itemsize(p.dtype);
  sizes.arithmetic = is_f64(p.dtype) ? 8 : 4;
  sizes.row = p.row_length * sizes.item;
  if (p.layout == Layout::columns) plan.tile_columns = tile_columns(p);
  choose_threads(plan, p, machine.constants, threads);
  choose_algorithm(plan, p, sizes, requested, machine);
  choose_stores(plan, p, sizes, machine);
  if (reloads(plan.algorithm) && p.op != Op::logsumexp &&
      (!p.stored_row ||
       (p.op == Op::softmax && copies_tile(p, sizes, machine.caches, plan.stream))))
    plan.scratch_bytes = p.row_length * plan.tile_columns * sizes.arithmetic;
  if (plan.rows_in_flight > 1 && reloads(plan.algorithm))
    plan.scratch_bytes = plan.rows_in_flight * scratch_of_row_in_flight(p, sizes);
  return plan;
}

}  // namespace fastsoftmax
