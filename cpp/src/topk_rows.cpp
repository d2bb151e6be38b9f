// Runs of rows through the kernels, what they leave to others, and the way to the outputs.
#include <algorithm>
#include <cstring>
#include <vector>

#include "dispatch.h"
#include "execute.h"
#include "gather.h"
#include "row_tiles.h"
#include "rows_job.h"
#include "scratch.h"
#include "threads.h"
#include "topk_access.h"
#include "topk_keys.h"

#define FASTSOFTMAX_ISA baseline
#include "simd/vec_common.h"

namespace fastsoftmax {
namespace {

using kernels::BlockSum;
using kernels::KernelTable;
using kernels::kIrregular;
using kernels::RowAlgorithm;
using kernels::RowOp;
using kernels::RowsJob;
using kernels::TopkJob;
using kernels::TopkKernels;
using kernels::TopkOutcome;

// Rows are taken through the kernel and on to the outputs so many at a time that what is between
// stays in L1.
constexpr std::int64_t kBatchElements = 2048;
constexpr std::int64_t kBatchRows = 256;

class TopkRows {
 public:
  TopkRows(const TopkCall& topk, int max_threads)
      : topk_(topk),
        call_(topk.call),
        table_(kernels_in_use()),
        by_keys_(topk.selection && !is_floating(call_.x_dtype)),
        item_(call_.row_dtype == DType::f64 ? 8 : 4),
        tiles_(topk.smallest || by_keys_ || !call_.plain ? RowTiles() : RowTiles({{call_, false}})),
        direct_(!topk.smallest && (call_.layout == Layout::rows || tiles_)),
        kernel_(kernels_for(table_.topk, call_.row_dtype, direct_)) {
    plan_ = plan_for(call_, Algorithm::automatic, max_threads);
    if (plan_.share_row && (by_keys_ || tiles_)) {
      plan_.share_row = false;
      plan_.rows_per_task = 1;
    }
    tiles_.fit_tasks(plan_, call_.rows);
    const std::int64_t run = tiles_ ? tiles_.rows() : kBatchRows;
    batch_ = std::clamp<std::int64_t>(kBatchElements / topk.k, 1, run);
    outcome_ = topk.selection || topk.normalize == Normalize::topk ? TopkOutcome::scores
               : topk.log                                          ? TopkOutcome::log_softmax
                                                                   : TopkOutcome::softmax;
  }

  void run() {
    const Scratch scratch(bytes(), plan_.threads);
    scratch_ = &scratch;
    if (plan_.share_row) return run_shared();
    parallel_for(divide_up(call_.rows, plan_.rows_per_task), plan_.threads, run_task, this);
  }

 private:
  // The memory of a worker.
  struct Memory {
    char* values;
    std::int64_t* indices;
    char* logsumexp;
    std::int64_t* regular;
    char* workspace;
    KeyItem* items;
    char* tile;
    std::size_t bytes;
  };

  Memory carve(char* at) const {
    Carver carver(at);
    Memory m{};
    m.values = carver.take<char>(batch_ * topk_.k * item_);
    m.indices = carver.take<std::int64_t>(batch_ * topk_.k);
    m.logsumexp = carver.take<char>(batch_ * item_);
    m.regular = carver.take<std::int64_t>(batch_);
    m.workspace = carver.take<char>(1, kernel_.workspace_bytes(call_.row_length, topk_.k));
    m.items = carver.take<KeyItem>(key_items(call_.row_length, topk_.k));
    m.tile = carver.take<char>(tiles_.bytes());
    m.bytes = carver.bytes();
    return m;
  }
  std::size_t bytes() const { return carve(nullptr).bytes; }

  static void run_task(void* context, std::int64_t task, int worker) noexcept {
    const auto& t = *static_cast<const TopkRows*>(context);
    const Memory memory = t.carve(t.scratch_->of(worker));
    for_each_batch(t.call_, t.plan_.rows_per_task, task, t.batch_,
                   [&](std::int64_t row, std::int64_t rows) { t.run_batch(row, rows, memory); });
  }

  TopkJob job(std::int64_t row, std::int64_t rows, const Memory& memory) const {
    TopkJob job{};
    job.rows = rows_job(call_, row, rows);
    if (!direct_) {
      job.rows.fetch = topk_.smallest ? fetch_negated : fetch_row;
      job.rows.context = &call_;
      job.rows.first_row = row;
      if (job.rows.temperatures == nullptr) job.rows.temperatures = &call_.temperature;
    }
    job.outcome = outcome_;
    job.k = topk_.k;
    job.values = memory.values;
    job.indices = memory.indices;
    if (topk_.logsumexp != nullptr) job.logsumexp = memory.logsumexp;
    job.regular = memory.regular;
    job.workspace = memory.workspace;
    return job;
  }

  void run_batch(std::int64_t row, std::int64_t rows, const Memory& memory) const {
    if (by_keys_) {
      std::fill_n(memory.regular, rows, kIrregular);
    } else {
      TopkJob batch = job(row, rows, memory);
      if (tiles_) tiles_.load(call_, batch.rows, memory.tile);
      kernel_.rows(batch);
    }
    finish_batch(row, rows, memory);
  }

  // A single long row, seen by all threads.
  void run_shared() {
    const Memory memory = carve(scratch_->of(0));
    blocks_ = divide_up(call_.row_length, plan_.block);
    std::vector<BlockSum> sums(static_cast<std::size_t>(blocks_));
    for (std::int64_t row = 0; row < call_.rows; ++row) {
      shared_ = job(row, 1, memory);
      shared_.sums = sums.data();
      parallel_for(divide_up(blocks_, plan_.rows_per_task), plan_.threads, observe_task, this);
      kernel_.select(shared_);
      finish_batch(row, 1, memory);
    }
  }
  static void observe_task(void* context, std::int64_t task, int) noexcept {
    const auto& t = *static_cast<const TopkRows*>(context);
    const std::int64_t first = task * t.plan_.rows_per_task;
    t.kernel_.observe(t.shared_, first, std::min(t.blocks_, first + t.plan_.rows_per_task));
  }

  void finish_batch(std::int64_t row, std::int64_t rows, const Memory& memory) const {
    const baseline::DefaultFloatEnvironment environment;
    const bool lowest_differ = call_.where != nullptr || topk_.smallest;
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t regular = memory.regular[r];
      if (regular == kIrregular)
        finish_irregular(row + r, r, memory);
      else if (regular < topk_.k && lowest_differ)
        order_lowest(RowKeys(topk_, row + r), regular, topk_.k, memory.indices + r * topk_.k);
    }
    if (!topk_.selection && topk_.normalize == Normalize::topk) normalize_selected(rows, memory);
    write(row, rows, memory);
  }

  void finish_irregular(std::int64_t row, std::int64_t r, const Memory& memory) const {
    const RowKeys keys(topk_, row);
    std::int64_t* const indices = memory.indices + r * topk_.k;
    char* const values = memory.values + r * topk_.k * item_;
    select_by_keys(keys, topk_.k, memory.items, indices);
    if (topk_.selection) return;
    if (outcome_ == TopkOutcome::scores) {
      for (std::int64_t j = 0; j < topk_.k; ++j) put(values, j, keys.score(indices[j]));
    } else {
      const bool log = outcome_ == TopkOutcome::log_softmax;
      pick(row, log ? RowOp::log_softmax : RowOp::softmax,
           {&call_, indices, topk_.k, item_, values});
    }
    if (topk_.logsumexp != nullptr) {
      const std::int64_t first = 0;
      pick(row, RowOp::logsumexp, {&call_, &first, 1, item_, memory.logsumexp + r * item_});
    }
  }

  // Runs the whole row through the kernels and keeps what is wanted of it.
  void pick(std::int64_t row, RowOp op, const Pick& wanted) const {
    RowsJob job = rows_job(call_, row, 1);
    job.op = op;
    job.algorithm = RowAlgorithm::three_pass_recompute;
    job.fetch = Pick::fetch;
    job.store = Pick::store;
    job.context = &wanted;
    job.first_row = row;
    if (job.temperatures == nullptr) job.temperatures = &call_.temperature;
    (call_.row_dtype == DType::f64 ? table_.gathered_f64 : table_.gathered_f32).rows(job);
  }

  void put(char* values, std::int64_t j, double v) const {
    const auto single = static_cast<float>(v);
    if (item_ == 8)
      std::memcpy(values + j * item_, &v, sizeof v);
    else
      std::memcpy(values + j * item_, &single, sizeof single);
  }

  // softmax of the selected scores, a row of its own.
  void normalize_selected(std::int64_t rows, const Memory& memory) const {
    RowsJob job{};
    job.op = topk_.log ? RowOp::log_softmax : RowOp::softmax;
    job.algorithm = RowAlgorithm::three_pass_reload;
    job.x = memory.values;
    job.y = memory.values;
    job.x_stride = topk_.k * item_;
    job.y_stride = job.x_stride;
    job.rows = rows;
    job.length = topk_.k;
    job.empty_is_zero = call_.empty == EmptyRow::zero;
    (item_ == 8 ? table_.f64 : table_.f32).rows(job);
  }

  // Rows that lie one behind the other in the outputs go there in one piece.
  void write(std::int64_t row, std::int64_t rows, const Memory& memory) const {
    const std::int64_t k = topk_.k;
    const std::int64_t item = itemsize(topk_.values_dtype);
    if (topk_.logsumexp != nullptr)
      store_elements(memory.logsumexp, topk_.values_dtype, rows, topk_.logsumexp + row * item,
                     item);
    const std::int64_t inner = topk_.inner;
    const bool together = inner == 1;
    const std::int64_t count = together ? rows * k : k;
    for (std::int64_t r = 0; r < (together ? 1 : rows); ++r) {
      const std::int64_t outer = together ? row : (row + r) / inner;
      const std::int64_t at = outer * k * inner + (together ? 0 : (row + r) % inner);
      const std::int64_t* const indices = memory.indices + r * k;
      auto* const to = reinterpret_cast<std::int64_t*>(topk_.indices) + at;
      for (std::int64_t j = 0; j < count; ++j) to[j * inner] = indices[j];
      if (!topk_.selection)
        store_elements(memory.values + r * k * item_, topk_.values_dtype, count,
                       topk_.values + at * item, inner * item);
    }
    if (topk_.selection) write_elements(row, rows, memory);
  }

  void write_elements(std::int64_t row, std::int64_t rows, const Memory& memory) const {
    const std::int64_t k = topk_.k;
    const std::int64_t inner = topk_.inner;
    const std::int64_t item = itemsize(topk_.values_dtype);
    for (std::int64_t r = 0; r < rows; ++r) {
      const RowKeys keys(topk_, row + r);
      const std::int64_t at = (row + r) / inner * k * inner + (row + r) % inner;
      for (std::int64_t j = 0; j < k; ++j)
        copy_element(keys.element(memory.indices[r * k + j]),
                     topk_.values + (at + j * inner) * item, item, call_.x_swapped);
    }
  }

  const TopkCall& topk_;
  const Call& call_;
  const KernelTable& table_;
  bool by_keys_;
  std::int64_t item_;  // bytes of an arithmetic element
  RowTiles tiles_;
  bool direct_;
  const TopkKernels& kernel_;
  Plan plan_;
  std::int64_t batch_;
  TopkOutcome outcome_;
  const Scratch* scratch_ = nullptr;
  TopkJob shared_{};
  std::int64_t blocks_ = 0;
};

}  // namespace

void execute(const TopkCall& topk, int max_threads) { TopkRows(topk, max_threads).run(); }

}  // namespace fastsoftmax
