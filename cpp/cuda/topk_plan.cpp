#include "cuda/topk_plan.h"

#include <algorithm>
#include <bit>

#include "cuda/topk_desk.h"

namespace fastsoftmax::cuda {
namespace {

// Rows that have no more elements are sorted as a whole.
constexpr std::int64_t kSortedRow = 2048;
// In shared memory: more would leave room for too few thread blocks.
constexpr std::int64_t kMostSorted = 8192;
constexpr std::int64_t kMostPieces = 2048;
// What is left of rows in flight takes no more memory, but for a single row.
constexpr std::int64_t kRoom = std::int64_t{256} << 20;

constexpr std::int64_t kMaxBlocks = INT32_MAX;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t power_above(std::int64_t n) {
  return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(n)));
}
std::int64_t power_below(std::int64_t n) {
  return static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(n)));
}
std::int64_t grid(std::int64_t wanted, std::int64_t most) {
  return std::clamp<std::int64_t>(wanted, 1, most);
}

// What is left of a row, block by block.
struct Left {
  bool f64;  // geometry and keys; integers have those of f64
  std::int64_t blocks;
  std::int64_t pieces;

  explicit Left(const TopkRowsCall& call)
      : f64(call.dtype != DType::f32 && call.dtype != DType::f16 && call.dtype != DType::bf16),
        blocks(ceil_div(call.length, f64 ? kernels::kBlockF64 : kernels::kBlockF32)),
        pieces(blocks * kGroup) {}

  std::int64_t sums() const {
    return blocks * static_cast<std::int64_t>(sizeof(kernels::BlockSum));
  }
  std::int64_t maxima() const { return pieces * (f64 ? 8 : 4); }
  std::int64_t rank() const {
    return static_cast<std::int64_t>(f64 ? sizeof(Ranked<std::uint64_t>)
                                         : sizeof(Ranked<std::uint32_t>));
  }
};

// Where candidates are, and how many there may be.
void plan_candidates(TopkPlan& plan, const TopkRowsCall& call, const Left& left,
                     const Device& device) {
  const std::int64_t k = call.selection.k;
  const std::int64_t desk = sizeof(TopkDesk) + kMostPieces * sizeof(std::uint32_t);
  const std::int64_t room = device.shared_per_block - kStaticSharedBytes - desk;
  const std::int64_t most = std::min(power_below(room / left.rank()), kMostSorted);
  const std::int64_t wanted = call.length <= kSortedRow
                                  ? power_above(call.length)
                                  : std::max<std::int64_t>(power_above(2 * k), kSortedRow / 2);
  plan.sorted_at_once = static_cast<int>(std::min(wanted, most));
  plan.capacity = std::max<std::int64_t>(plan.sorted_at_once, power_above(k));
}

std::int64_t threads_to_choose(std::int64_t length) {
  constexpr std::int64_t long_row = std::int64_t{1} << 19;
  if (length >= long_row) return kChooseThreads;
  return std::clamp<std::int64_t>(power_above(ceil_div(length, 16)), 32, 256);
}

// In whole warps.
int groups_to_sum(const Left& left) {
  const int most = kExceptionalThreads / kGroup;
  return static_cast<int>(std::clamp<std::int64_t>((left.blocks + 1) / 2 * 2, 2, most));
}

// Hands out pieces of the workspace.
class Pieces {
 public:
  std::int64_t take(std::int64_t bytes) {
    const std::int64_t here = at_;
    at_ += ceil_div(bytes, 256) * 256;
    return here;
  }
  std::int64_t bytes() const { return at_; }

 private:
  std::int64_t at_ = 0;
};

}  // namespace

TopkPlan make_topk_plan(const TopkRowsCall& call, const Device& device) {
  const Selection& selection = call.selection;
  const Left left(call);
  TopkPlan plan{};
  const int lanes = left.f64 ? kernels::kLanesF64 : kernels::kLanesF32;
  if (call.length <= kShortSteps * lanes && selection.k <= kFew && selection.logsumexp == nullptr) {
    plan.short_blocks = grid(ceil_div(call.rows, kShortRowThreads / kGroup), kMaxBlocks);
    return plan;
  }
  plan_candidates(plan, call, left, device);
  const bool probabilities =
      selection.picked == Picked::softmax || selection.picked == Picked::log_softmax;
  plan.sums = probabilities || selection.logsumexp != nullptr;
  plan.maxima = call.length > plan.capacity && left.pieces >= selection.k;

  const std::int64_t sums = plan.sums ? left.sums() : 0;
  const std::int64_t maxima = plan.maxima ? left.maxima() : 0;
  const std::int64_t outcome = plan.sums ? sizeof(RowOutcome) : 0;
  const std::int64_t row = std::max<std::int64_t>(sums + maxima + outcome, 1);
  plan.rows_in_flight = std::clamp<std::int64_t>(kRoom / row, 1, std::min(call.rows, kMaxBlocks));

  plan.observe_threads = kObserveThreads;
  plan.observe_blocks = grid(ceil_div(plan.rows_in_flight * left.blocks, kObserveThreads / kGroup),
                             std::int64_t{24} * device.sms);
  const int groups = groups_to_sum(left);
  plan.join_blocks = plan.rows_in_flight;
  plan.join_shared_bytes = desk_bytes(kFetchThreads);
  plan.exceptional_threads = groups * kGroup;
  plan.exceptional_shared_bytes = desk_bytes(groups);

  const bool sorts_in_shared = plan.capacity <= plan.sorted_at_once;
  plan.choose_threads = static_cast<int>(threads_to_choose(call.length));
  plan.choose_blocks =
      grid(plan.rows_in_flight, sorts_in_shared ? kMaxBlocks : std::int64_t{2} * device.sms);
  plan.pieces_at_once = plan.maxima ? static_cast<int>(std::min(left.pieces, kMostPieces)) : 0;
  plan.choose_shared_bytes =
      static_cast<int>(static_cast<std::int64_t>(sizeof(TopkDesk)) +
                       plan.pieces_at_once * static_cast<std::int64_t>(sizeof(std::uint32_t)) +
                       plan.sorted_at_once * left.rank());

  Pieces pieces;
  plan.workspace.sums = pieces.take(plan.rows_in_flight * sums);
  plan.workspace.maxima = pieces.take(plan.rows_in_flight * maxima);
  plan.workspace.outcomes = pieces.take(plan.rows_in_flight * outcome);
  plan.workspace.candidates =
      pieces.take(sorts_in_shared ? 0 : plan.choose_blocks * plan.capacity * left.rank());
  if (selection.picked == Picked::scores) {
    const RowsCall rows = selected_rows(call, nullptr);
    plan.rows = make_plan(rows, device);
    plan.store_blocks =
        grid(ceil_div(call.rows * selection.k, kObserveThreads), std::int64_t{16} * device.sms);
    plan.workspace.scores = pieces.take(call.rows * rows.outer.axis[0].x);
    plan.workspace.rows = pieces.take(workspace_bytes(rows, plan.rows));
  }
  plan.workspace.bytes = pieces.bytes();
  return plan;
}

RowsCall selected_rows(const TopkRowsCall& call, char* scores) {
  const std::int64_t k = call.selection.k;
  RowsCall rows{};
  rows.op = call.op;
  rows.dtype = call.dtype == DType::f64 ? DType::f64 : DType::f32;
  rows.layout = Layout::rows;
  rows.empty_is_zero = call.empty_is_zero;
  rows.temperature = 1.0;
  rows.x = scores;
  rows.y = scores;
  rows.length = k;
  rows.rows = call.rows;
  const std::int64_t item = rows.dtype == DType::f64 ? 8 : 4;
  rows.outer.count = 1;
  rows.outer.axis[0] = {call.rows, k * item, k * item, 0, 0};
  rows.reduced.count = 1;
  rows.reduced.axis[0] = {k, item, item, 0, 0};
  return rows;
}

}  // namespace fastsoftmax::cuda
