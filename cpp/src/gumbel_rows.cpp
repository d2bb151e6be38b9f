// Runs of rows through the kernels that draw without replacement.
#include "draw_rows.h"

namespace fastsoftmax {
namespace {

using kernels::BlockSum;
using kernels::GumbelJob;
using kernels::kIrregular;
using kernels::RandomStream;

class GumbelRows : DrawRows {
 public:
  GumbelRows(const DrawCall& gumbel, int max_threads)
      : DrawRows(gumbel, max_threads), k_(gumbel.rows.k) {
    // One element after the other is drawn: there is nothing to share in a row.
    if (plan.share_row) plan.rows_per_task = 1;
    constexpr std::int64_t batch_elements = 2048;
    if (!tiles) batch = std::clamp<std::int64_t>(batch_elements / k_, 1, batch);
  }

  void run() {
    const Scratch scratch(carve(nullptr).bytes, plan.threads);
    scratch_ = &scratch;
    parallel_for(tasks(), plan.threads, run_task, this);
  }

 private:
  struct Memory {
    double* temperatures;
    RandomStream* random;
    char* values;
    std::int64_t* indices;
    std::int64_t* regular;
    std::int64_t* taken;
    std::int64_t* ordered;
    char* workspace;
    BlockSum* sums;
    KeyItem* items;
    char* tile;
    std::size_t bytes;
  };

  Memory carve(char* at) const {
    Carver carver(at);
    Memory m{};
    m.temperatures = carver.take<double>(batch);
    m.random = carver.take<RandomStream>(batch);
    m.values = carver.take<char>(batch * k_ * item_bytes);
    m.indices = carver.take<std::int64_t>(batch * k_);
    m.regular = carver.take<std::int64_t>(batch);
    m.taken = carver.take<std::int64_t>(k_);
    m.ordered = carver.take<std::int64_t>(k_);
    m.workspace = carver.take<char>(1, kernel.gumbel_bytes(call.row_length));
    m.sums = carver.take<BlockSum>(blocks);
    m.items = carver.take<KeyItem>(key_items(call.row_length, k_));
    m.tile = carver.take<char>(tiles.bytes());
    m.bytes = carver.bytes();
    return m;
  }

  static void run_task(void* context, std::int64_t task, int worker) noexcept {
    const auto& g = *static_cast<const GumbelRows*>(context);
    const Memory memory = g.carve(g.scratch_->of(worker));
    for_each_batch(g.call, g.plan.rows_per_task, task, g.batch,
                   [&](std::int64_t row, std::int64_t rows) {
                     g.kernel.gumbel(g.job(row, rows, memory));
                     for (std::int64_t r = 0; r < rows; ++r) g.finish(row + r, r, memory);
                   });
  }

  GumbelJob job(std::int64_t row, std::int64_t count, const Memory& memory) const {
    for (std::int64_t r = 0; r < count; ++r) {
      memory.temperatures[r] = draw.temperature(row + r);
      memory.random[r] = draw.random(row + r);
    }
    GumbelJob job{};
    job.rows = rows(row, count, memory.temperatures, memory.tile);
    job.k = k_;
    job.random = memory.random;
    job.values = memory.values;
    job.indices = memory.indices;
    job.regular = memory.regular;
    job.workspace = memory.workspace;
    job.sums = memory.sums;
    return job;
  }

  // What the kernel has left, and the way to the outputs.
  void finish(std::int64_t row, std::int64_t r, const Memory& memory) const {
    const RowKeys keys(draw.rows, row);
    std::int64_t* const indices = memory.indices + r * k_;
    char* const values = memory.values + r * k_ * item_bytes;
    const std::int64_t regular = memory.regular[r];
    const std::int64_t inner = draw.rows.inner;
    const std::int64_t at = row / inner * k_ * inner + row % inner;
    const DType dtype = draw.rows.values_dtype;
    const std::int64_t item = itemsize(dtype);
    if (regular == kIrregular) {
      select_by_keys(keys, k_, memory.items, indices);
      fill_nan(values, k_);
    } else if (regular < k_) {
      append_rest(keys, regular, indices, memory);
    }
    for (std::int64_t j = 0; j < k_; ++j)
      reinterpret_cast<std::int64_t*>(draw.rows.indices)[at + j * inner] = indices[j];
    store_elements(values, dtype, k_, draw.rows.values + at * item, inner * item);
  }

  // The first of what is not among the first `count`, in the order of topk.
  void append_rest(const RowKeys& keys, std::int64_t count, std::int64_t* indices,
                   const Memory& memory) const {
    std::int64_t* const end = std::copy_n(indices, count, memory.taken);
    std::sort(memory.taken, end);
    select_by_keys(keys, k_, memory.items, memory.ordered);
    for (const std::int64_t* next = memory.ordered; count < k_; ++next) {
      if (!std::binary_search(memory.taken, end, *next)) indices[count++] = *next;
    }
  }

  std::int64_t k_;
  const Scratch* scratch_ = nullptr;
};

}  // namespace

void execute(const DrawCall& gumbel, int max_threads) { GumbelRows(gumbel, max_threads).run(); }

}  // namespace fastsoftmax
