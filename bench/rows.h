// Contiguous rows, straight through the kernel table or through the public interface.
#pragma once

#include <array>

#include "fastsoftmax/softmax.hpp"
#include "problem.h"

namespace fastsoftmax::bench {

inline constexpr Algorithm kAlgorithms[] = {Algorithm::three_pass_reload,
                                            Algorithm::three_pass_recompute, Algorithm::two_pass,
                                            Algorithm::online, Algorithm::online_reload};

inline bool reloads(Algorithm algorithm) {
  return algorithm == Algorithm::three_pass_reload || algorithm == Algorithm::online_reload;
}

inline const kernels::RowKernels& row_kernels(const kernels::KernelTable& table, DType dtype) {
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

inline kernels::RowAlgorithm row_algorithm(Algorithm algorithm) {
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

struct Rows {
  Op op;
  DType dtype;
  Algorithm algorithm;  // automatic: only through the public interface
  bool stream;          // stores bypass the cache; not through the public interface
  std::int64_t rows;
  std::int64_t length;

  std::int64_t elements() const { return rows * length; }
  std::int64_t results_per_row() const { return op == Op::logsumexp ? 1 : length; }
  std::int64_t result_bytes() const { return rows * results_per_row() * itemsize(dtype); }
  bool stored_row() const { return dtype == DType::f32 || dtype == DType::f64; }

  int block() const { return dtype == DType::f64 ? kernels::kBlockF64 : kernels::kBlockF32; }

  // Scratch memory is the same for all jobs. Where the output row cannot hold exponentials it does,
  // however long the row; the plan has a limit.
  kernels::RowsJob job(const char* x, char* y) const {
    static Memory scratch;
    static Memory exponents;
    const std::int64_t blocks = (length + block() - 1) / block();
    kernels::RowsJob job{};
    job.op = static_cast<kernels::RowOp>(op);
    job.algorithm = row_algorithm(algorithm);
    job.x = x;
    job.y = y;
    job.x_stride = length * itemsize(dtype);
    job.y_stride = results_per_row() * itemsize(dtype);
    job.rows = rows;
    job.length = length;
    if (reloads(algorithm) && !stored_row())
      job.scratch = scratch.at_least(static_cast<std::size_t>(length) * sizeof(float));
    job.block_exponents = exponents.at_least(static_cast<std::size_t>(blocks) * sizeof(double));
    job.stream = stream;
    return job;
  }

  void run_public(const char* x, char* y, int threads) const {
    const std::int64_t item = itemsize(dtype);
    const std::array shape{rows, length};
    const std::array strides{length * item, item};
    const std::array out_shape{rows, results_per_row()};
    const std::array out_strides{results_per_row() * item, item};
    const std::array axes{1};
    const ConstView in{x, dtype, shape, strides};
    const View out{y, dtype, out_shape, out_strides};
    Options options;
    options.algorithm = algorithm;
    options.max_threads = threads;
    switch (op) {
      case Op::softmax:
        return softmax(in, out, axes, options);
      case Op::log_softmax:
        return log_softmax(in, out, axes, options);
      case Op::logsumexp:
        return logsumexp(in, out, axes, options);
    }
  }

  // A benchmark of wrong results is worth nothing: whether the last row in y has the bits that the
  // public interface gives it alone.
  bool is_right(const char* x, const char* y) const {
    const std::int64_t last = rows - 1;
    const std::int64_t bytes = results_per_row() * itemsize(dtype);
    static Memory memory;
    char* const expected = memory.at_least(static_cast<std::size_t>(bytes));
    Rows alone = *this;
    alone.rows = 1;
    alone.algorithm = Algorithm::automatic;
    alone.run_public(x + last * length * itemsize(dtype), expected, 1);
    return std::memcmp(expected, y + last * bytes, static_cast<std::size_t>(bytes)) == 0;
  }
};

}  // namespace fastsoftmax::bench
