// Runs of rows through the sampling kernels.
#include <limits>

#include "draw_rows.h"

namespace fastsoftmax {
namespace {

using kernels::BlockSum;
using kernels::kIrregular;
using kernels::SampleJob;
using kernels::SampleRow;

class SampleRows : DrawRows {
 public:
  SampleRows(const SampleCall& sample, int max_threads)
      : DrawRows(sample.draw, max_threads),
        sample_(sample),
        list_length_(sample.may_filter ? call.row_length : sample.most_k) {
    if (plan.share_row && tiles) {
      plan.share_row = false;
      plan.rows_per_task = 1;
    }
  }

  void run() {
    const Scratch scratch(carve(nullptr).bytes, plan.threads);
    scratch_ = &scratch;
    if (plan.share_row) return run_shared();
    parallel_for(tasks(), plan.threads, run_task, this);
  }

 private:
  struct Memory {
    SampleRow* how;
    double* temperatures;
    std::int64_t* indices;
    char* logprobs;
    char* workspace;
    BlockSum* sums;
    KeyItem* items;
    char* tile;
    std::size_t bytes;
  };

  Memory carve(char* at) const {
    Carver carver(at);
    Memory m{};
    m.how = carver.take<SampleRow>(batch);
    m.temperatures = carver.take<double>(batch);
    m.indices = carver.take<std::int64_t>(batch);
    m.logprobs = carver.take<char>(batch * item_bytes);
    m.workspace =
        carver.take<char>(1, kernel.workspace_bytes(call.row_length, sample_.most_k, list_length_));
    m.sums = carver.take<BlockSum>(blocks);
    m.items = carver.take<KeyItem>(key_items(call.row_length, 1));
    m.tile = carver.take<char>(tiles.bytes());
    m.bytes = carver.bytes();
    return m;
  }

  static void run_task(void* context, std::int64_t task, int worker) noexcept {
    const auto& s = *static_cast<const SampleRows*>(context);
    const Memory memory = s.carve(s.scratch_->of(worker));
    for_each_batch(s.call, s.plan.rows_per_task, task, s.batch,
                   [&](std::int64_t row, std::int64_t rows) {
                     const SampleJob job = s.job(row, rows, memory);
                     s.kernel.rows(job);
                     s.write(row, rows, memory);
                   });
  }

  SampleJob job(std::int64_t row, std::int64_t count, const Memory& memory) const {
    for (std::int64_t r = 0; r < count; ++r) {
      const double temperature = draw.temperature(row + r);
      memory.temperatures[r] = temperature == 0.0 ? 1.0 : temperature;
      memory.how[r] = temperature == 0.0 ? greedy() : filters(row + r);
      memory.how[r].random = draw.random(row + r);
    }
    SampleJob job{};
    job.rows = rows(row, count, memory.temperatures, memory.tile);
    job.how = memory.how;
    job.indices = memory.indices;
    if (sample_.logprobs != nullptr) job.logprobs = memory.logprobs;
    job.list_length = list_length_;
    job.workspace = memory.workspace;
    job.sums = memory.sums;
    return job;
  }

  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  SampleRow greedy() const {
    return {call.row_length > 1 ? 1 : 0, 1.0, 0.0, 1.0, 0.0, kInfinity, {}};
  }
  SampleRow filters(std::int64_t row) const {
    // Memory is for most_k, should the array change meanwhile.
    const std::int64_t k = sample_.top_k(row);
    return {k < call.row_length ? std::clamp<std::int64_t>(k, 0, sample_.most_k) : 0,
            sample_.top_p(row),
            sample_.min_p(row),
            sample_.typical_p(row),
            sample_.top_n_sigma(row),
            sample_.max_surprise(row),
            {}};
  }

  // A single long row, seen by all threads.
  void run_shared() {
    const Memory memory = carve(scratch_->of(0));
    for (std::int64_t row = 0; row < call.rows; ++row) {
      shared_ = job(row, 1, memory);
      const std::int64_t each = plan.rows_per_task;
      parallel_for((blocks + each - 1) / each, plan.threads, observe_task, this);
      kernel.finish(shared_);
      write(row, 1, memory);
    }
  }
  static void observe_task(void* context, std::int64_t task, int) noexcept {
    const auto& s = *static_cast<const SampleRows*>(context);
    const std::int64_t first = task * s.plan.rows_per_task;
    s.kernel.observe(s.shared_, first, std::min(s.blocks, first + s.plan.rows_per_task));
  }

  void write(std::int64_t row, std::int64_t count, const Memory& memory) const {
    for (std::int64_t r = 0; r < count; ++r) {
      if (memory.indices[r] != kIrregular) continue;
      select_by_keys(RowKeys(draw.rows, row + r), 1, memory.items, memory.indices + r);
      fill_nan(memory.logprobs + r * item_bytes, 1);
    }
    std::copy_n(memory.indices, count, sample_.indices + row);
    if (sample_.logprobs == nullptr) return;
    const std::int64_t item = itemsize(sample_.logprobs_dtype);
    store_elements(memory.logprobs, sample_.logprobs_dtype, count, sample_.logprobs + row * item,
                   item);
  }

  const SampleCall& sample_;
  std::int64_t list_length_;
  const Scratch* scratch_ = nullptr;
  SampleJob shared_{};
};

}  // namespace

void execute(const SampleCall& sample, int max_threads) { SampleRows(sample, max_threads).run(); }

}  // namespace fastsoftmax
