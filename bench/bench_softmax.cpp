// <op>/<dtype>/<isa>/<algorithm>/<row length>: contiguous rows on one thread.
//   op         softmax; log_softmax and logsumexp for fewer types and lengths
//   algorithm  one of the four, straight through the kernel table; with _stream its stores bypass
//              the cache; auto is the public interface with the plan's choice
// memcpy/<dtype>/<elements> is there for comparison in the same run.
#include <array>

#include "fastsoftmax/plan.hpp"
#include "problem.h"

namespace fastsoftmax::bench {
namespace {

constexpr Algorithm kAlgorithms[] = {Algorithm::three_pass_reload, Algorithm::three_pass_recompute,
                                     Algorithm::two_pass, Algorithm::online,
                                     Algorithm::online_reload};

// From here on stores are also measured bypassing the cache.
constexpr std::int64_t kShortestStreamed = std::int64_t{1} << 16;

struct Case {
  Op op;
  DType dtype;
  Isa isa;
  Algorithm algorithm;  // automatic: through the public interface
  bool stream;
  std::int64_t length;

  std::int64_t rows() const { return rows_of(length); }
  std::int64_t elements() const { return rows() * length; }
  bool keeps_axis() const { return op != Op::logsumexp; }
  std::int64_t results_per_row() const { return keeps_axis() ? length : 1; }
  std::string name() const {
    const std::string suffix = stream ? "_stream" : "";
    return path({fastsoftmax::name(op), short_name(dtype), fastsoftmax::name(isa),
                 std::string(fastsoftmax::name(algorithm)) + suffix},
                length);
  }
  Plan plan() const {
    Problem problem;
    problem.op = op;
    problem.dtype = dtype;
    problem.rows = rows();
    problem.row_length = length;
    problem.stored_row = dtype == DType::f32 || dtype == DType::f64;
    return make_plan(problem, algorithm, caches(), 1);
  }
};

void run_public(const Case& c, const char* x, char* y, std::int64_t rows) {
  const std::int64_t item = itemsize(c.dtype);
  const std::array shape{rows, c.length};
  const std::array strides{c.length * item, item};
  const std::array out_shape{rows, c.results_per_row()};
  const std::array out_strides{c.results_per_row() * item, item};
  const std::array axes{1};
  const ConstView in{x, c.dtype, shape, strides};
  const View out{y, c.dtype, out_shape, out_strides};
  Options options;
  options.algorithm = c.algorithm;
  options.max_threads = 1;
  switch (c.op) {
    case Op::softmax:
      return softmax(in, out, axes, options);
    case Op::log_softmax:
      return log_softmax(in, out, axes, options);
    case Op::logsumexp:
      return logsumexp(in, out, axes, options);
  }
}

const kernels::RowKernels& row_kernels(const kernels::KernelTable& table, DType dtype) {
  switch (dtype) {
    case DType::f64:
      return table.f64;
    case DType::f16:
      return table.f16;
    case DType::bf16:
      return table.bf16;
    default:
      return table.f32;
  }
}

kernels::RowAlgorithm row_algorithm(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::three_pass_reload:
      return kernels::RowAlgorithm::three_pass_reload;
    case Algorithm::two_pass:
      return kernels::RowAlgorithm::two_pass;
    case Algorithm::online:
      return kernels::RowAlgorithm::online;
    case Algorithm::online_reload:
      return kernels::RowAlgorithm::online_reload;
    default:
      return kernels::RowAlgorithm::three_pass_recompute;
  }
}

// A job whose stores, unlike the plan's, bypass the cache exactly where the case says so.
kernels::RowsJob job_of(const Case& c, const char* x, char* y, Memory& scratch, Memory& exponents) {
  const Plan plan = c.plan();
  const std::int64_t item = itemsize(c.dtype);
  kernels::RowsJob job{};
  job.op = static_cast<kernels::RowOp>(c.op);
  job.algorithm = row_algorithm(c.algorithm);
  job.x = x;
  job.y = y;
  job.x_stride = c.length * item;
  job.y_stride = c.results_per_row() * item;
  job.rows = c.rows();
  job.length = c.length;
  if (plan.scratch_bytes > 0)
    job.scratch = scratch.at_least(static_cast<std::size_t>(plan.scratch_bytes));
  job.block_exponents = exponents.at_least(
      static_cast<std::size_t>((c.length + plan.block - 1) / plan.block) * sizeof(double));
  job.stream = c.stream;
  return job;
}

// A benchmark of wrong results is worth nothing: the last row has the bits that the public
// interface gives it alone.
bool is_right(const Case& c, const char* x, const char* y) {
  const std::int64_t item = itemsize(c.dtype);
  const std::int64_t last = c.rows() - 1;
  const std::int64_t bytes = c.results_per_row() * item;
  std::vector<char> expected(static_cast<std::size_t>(bytes));
  run_public(c, x + last * c.length * item, expected.data(), 1);
  return std::memcmp(expected.data(), y + last * bytes, expected.size()) == 0;
}

void run(benchmark::State& state, const Case& c) {
  const kernels::KernelTable& table = kernels_of(c.isa);
  const std::int64_t item = itemsize(c.dtype);
  const std::int64_t result_bytes = c.rows() * c.results_per_row() * item;
  const char* const x = logits(c.dtype, c.elements());
  char* const y = results(result_bytes);
  const std::int64_t bytes = c.elements() * item + result_bytes;
  if (c.algorithm == Algorithm::automatic)
    return measure(state, c.elements(), bytes, [&] { run_public(c, x, y, c.rows()); });

  static Memory scratch;
  static Memory exponents;
  const kernels::RowKernels& kernel = row_kernels(table, c.dtype);
  const kernels::RowsJob job = job_of(c, x, y, scratch, exponents);
  kernel.rows(job);
  if (!is_right(c, x, y)) return state.SkipWithError("the result is wrong");
  measure(state, c.elements(), bytes, [&] { kernel.rows(job); });
}

void add(const Case& c) {
  const bool requested = c.algorithm != Algorithm::automatic;
  // What the library never does: storing the exponentials of 16-bit rows that have no room for
  // them. Storing what logsumexp does not need is recomputing.
  if (requested && c.plan().algorithm != c.algorithm) return;
  if (c.op == Op::logsumexp && c.algorithm == Algorithm::three_pass_reload) return;
  benchmark::RegisterBenchmark(c.name().c_str(), [c](benchmark::State& state) { run(state, c); });
}

void add_op(Op op, DType dtype, std::int64_t length) {
  for (const Isa isa : isas_supported()) {
    add({op, dtype, isa, Algorithm::automatic, false, length});
    for (const Algorithm algorithm : kAlgorithms) add({op, dtype, isa, algorithm, false, length});
    if (length < kShortestStreamed || op == Op::logsumexp) continue;
    for (const Algorithm algorithm : kAlgorithms) {
      // What is read again at once must not bypass the cache.
      if (algorithm != Algorithm::three_pass_reload && algorithm != Algorithm::online_reload)
        add({op, dtype, isa, algorithm, true, length});
    }
  }
}

void add_all(int max_log2) {
  for (const DType dtype : kTypes) {
    for (const std::int64_t length : lengths(4, max_log2)) add_op(Op::softmax, dtype, length);
    register_memcpy(dtype, max_log2);
  }
  for (const Op op : {Op::log_softmax, Op::logsumexp}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const int log2 : {6, 12, 18, 24}) {
        if (log2 <= max_log2) add_op(op, dtype, std::int64_t{1} << log2);
      }
    }
  }
}

}  // namespace
}  // namespace fastsoftmax::bench

int main(int argc, char** argv) {
  return fastsoftmax::bench::run_benchmarks(argc, argv, fastsoftmax::bench::add_all);
}
