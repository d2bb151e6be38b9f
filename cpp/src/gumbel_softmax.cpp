#include "fastsoftmax/gumbel_softmax.hpp"

#include <algorithm>
#include <optional>
#include <string>

#include "dispatch.h"
#include "execute.h"
#include "row_tiles.h"
#include "rows_job.h"
#include "sampling_call.h"
#include "scratch.h"
#include "threads.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

using kernels::GumbelSoftmaxJob;
using kernels::GumbelSoftmaxKernels;
using kernels::LargestScore;
using kernels::RandomStream;
using kernels::RowsJob;

class GumbelSoftmax {
 public:
  // soft, hard: one or both; their rows and elements are numbered alike.
  GumbelSoftmax(const Call* soft, const Call* hard, const RowValues<double>& temperature,
                const RowRandom& random, int max_threads)
      : call_(soft != nullptr ? *soft : *hard),
        hard_(hard),
        soft_(soft != nullptr),
        temperature_(temperature),
        random_(random),
        plan_(plan_for(call_, Algorithm::automatic, max_threads)) {
    if (call_.where == nullptr) {
      const bool both = soft != nullptr && hard != nullptr;
      tiles_ = both ? RowTiles({{*soft, true}, {*hard, true}}) : RowTiles({{call_, true}});
    }
    kernels_ = &kernels_of(call_);
    if (hard != nullptr) one_hot_ = kernels_of(*hard).one_hot;
    // Threads share no row.
    if (plan_.share_row) plan_.rows_per_task = 1;
    tiles_.fit_tasks(plan_, call_.rows);
    batch_ = tiles_ ? tiles_.rows() : kBatchRows;
    const std::int64_t item = itemsize(call_.row_dtype);
    arithmetic_ = call_.row_dtype == DType::f64 ? 8 : 4;
    // Stores that bypass the cache gain nothing here.
    keeps_terms_ = soft_ && (!call_.direct || call_.in_place || item != arithmetic_);
  }

  void run() {
    const Scratch scratch(carve(nullptr).bytes, plan_.threads);
    scratch_ = &scratch;
    parallel_for((call_.rows + plan_.rows_per_task - 1) / plan_.rows_per_task, plan_.threads,
                 run_task, this);
  }

 private:
  static constexpr std::int64_t kBatchRows = 64;

  struct Memory {
    double* temperatures;
    RandomStream* random;
    LargestScore* largest;
    char* terms;
    char* exponents;
    char* tile;
    std::size_t bytes;
  };

  const GumbelSoftmaxKernels& kernels_of(const Call& call) const {
    return kernels_for(kernels_in_use().gumbel_softmax, call.row_dtype, call.direct || tiles_);
  }

  Memory carve(char* at) const {
    Carver carver(at);
    const std::int64_t blocks = (call_.row_length + plan_.block - 1) / plan_.block;
    Memory m{};
    m.temperatures = carver.take<double>(batch_);
    m.random = carver.take<RandomStream>(batch_);
    m.largest = carver.take<LargestScore>(batch_);
    m.terms = carver.take<char>(keeps_terms_ ? call_.row_length * arithmetic_ : 0);
    m.exponents = carver.take<char>(blocks * arithmetic_);
    m.tile = carver.take<char>(tiles_.bytes());
    m.bytes = carver.bytes();
    return m;
  }

  static void run_task(void* context, std::int64_t task, int worker) noexcept {
    const auto& g = *static_cast<const GumbelSoftmax*>(context);
    const Memory memory = g.carve(g.scratch_->of(worker));
    for_each_batch(
        g.call_, g.plan_.rows_per_task, task, g.batch_,
        [&](std::int64_t row, std::int64_t rows) { g.run_rows(row, row + rows, memory); });
  }

  // Rows in one run of the first call.
  void run_rows(std::int64_t row, std::int64_t last, const Memory& memory) const {
    const std::int64_t run = hard_ == nullptr ? last : rows_per_run(*hard_);
    while (row < last) {
      const std::int64_t rows = std::min(last - row, run - row % run);
      run_batch(row, rows, memory);
      row += rows;
    }
  }

  void run_batch(std::int64_t row, std::int64_t rows, const Memory& memory) const {
    for (std::int64_t r = 0; r < rows; ++r) {
      memory.temperatures[r] = temperature_(row + r);
      memory.random[r] = random_(row + r);
    }
    GumbelSoftmaxJob job{};
    static_cast<RowsJob&>(job) = rows_job(call_, row, rows);
    const RowsJob lying = job;
    if (tiles_) {
      tiles_.load(call_, job, memory.tile);
      job.y = memory.tile;
      job.y_stride = job.x_stride;
    }
    job.temperatures = memory.temperatures;
    job.temperature_stride = sizeof(double);
    job.random = memory.random;
    if (hard_ != nullptr) job.largest = memory.largest;
    if (soft_) {
      if (keeps_terms_) job.scratch = memory.terms;
      job.block_exponents = memory.exponents;
      kernels_->softmax(job);
      if (tiles_) tiles_.store(call_, lying, memory.tile);
    } else {
      kernels_->largest(job);
    }
    if (hard_ != nullptr) write_hard(row, rows, memory);
  }

  void write_hard(std::int64_t row, std::int64_t rows, const Memory& memory) const {
    RowsJob job = rows_job(*hard_, row, rows);
    const RowsJob lying = job;
    if (tiles_) {
      job.y = memory.tile;
      job.y_stride = tiles_.stride();
    }
    one_hot_(job, memory.largest);
    if (tiles_) tiles_.store(*hard_, lying, memory.tile);
  }

  const Call& call_;  // where x is, and the first of the outputs
  const Call* hard_;  // or null
  bool soft_;
  const RowValues<double>& temperature_;
  const RowRandom& random_;
  Plan plan_;
  RowTiles tiles_;
  const GumbelSoftmaxKernels* kernels_;
  void (*one_hot_)(const RowsJob& job, const LargestScore* largest) = nullptr;
  std::int64_t batch_;
  std::int64_t arithmetic_;  // bytes of an arithmetic element
  bool keeps_terms_;         // in scratch memory
  const Scratch* scratch_ = nullptr;
};

// Throws where an output may share memory with one of the arrays that rows have values in.
void check_apart_from_values(const View& out, const GumbelSoftmaxOptions& options) {
  const auto check = [&](const std::optional<ConstView>& values) {
    if (values) check_apart(out, "out", {&*values});
  };
  check(options.temperature.values);
  check(options.random.seed.values);
  check(options.random.position.values);
  if (options.random.row_ids) check(options.random.row_ids->values);
}

Call call_of(const ConstView& x, int axis, const View& out, const GumbelSoftmaxOptions& options) {
  Options core;
  core.where = options.where;
  core.empty = options.empty;
  core.dtype = options.dtype;
  core.max_threads = options.max_threads;
  const int axes[] = {axis};
  Call call = make_call(Op::softmax, x, out, axes, core, false);
  if (call.row_length >= std::int64_t{1} << 32)
    throw InvalidArgument("rows must be shorter than 2**32, got " +
                          std::to_string(call.row_length));
  if (out.data == nullptr && call.rows > 0 && call.row_length > 0)
    throw InvalidArgument("out has no data");
  check_apart_from_values(out, options);
  return call;
}

}  // namespace

void gumbel_softmax(const ConstView& x, int axis, const View& out,
                    const GumbelSoftmaxOptions& options, const View* soft) {
  if (soft != nullptr && !options.hard)
    throw InvalidArgument("soft is what out holds, unless hard is set");
  const Call call = call_of(x, axis, out, options);
  std::optional<Call> soft_call;
  if (soft != nullptr) {
    soft_call = call_of(x, axis, *soft, options);
    const ConstView taken = as_input(out);
    check_apart(*soft, "soft", {&taken});
  }
  const RowValues<double> temperature(
      options.temperature, "temperature", x, axis, "positive and finite as the arithmetic type",
      [&](double t) { return is_valid_temperature(t, call.row_dtype); });
  const RowRandom random(options.random, x, axis);
  if (call.rows == 0 || call.row_length == 0) return;
  const Call* const of_soft = soft_call ? &*soft_call : nullptr;
  GumbelSoftmax(options.hard ? of_soft : &call, options.hard ? &call : nullptr, temperature, random,
                options.max_threads)
      .run();
}

}  // namespace fastsoftmax
