// The last layer of a classifier over many classes: scores z = x w^T + bias, of which logsumexp,
// the k largest and single log-probabilities are wanted and never the (N, V) matrix itself. Scores
// are formed tile by tile, classes by rows, and used while they are in cache; the memory needed
// besides inputs and results is a few MiB and some numbers per row and class. A thread keeps up to
// 256 MiB of it for its next call.
//
// The matrix product is the caller's: BLAS (blas.hpp), or anything else that computes it. Given the
// scores, logsumexp and the classes of linear_topk are those of logsumexp and softmax_topk over
// them, to the bit, whatever the instruction set and the number of threads; probabilities are
// within 4 u (f64: (10 + L) u, L the log of the sum relative to the maximum) of the exact ones. The
// bits of the scores are those of the product.
//
// Types: inputs of any types. All arithmetic is float64 where x or w has that type or integers,
// else float32; float16 and bfloat16 are converted tile by tile. Results have the arithmetic type.
//
// Source: Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models (2025).
#pragma once

#include <cstdint>
#include <optional>

#include "fastsoftmax/types.hpp"
#include "fastsoftmax/view.hpp"

namespace fastsoftmax {

// f32 or f64, aligned, in native byte order. As BLAS wants it: one of the strides is the size of an
// element, the other one positive.
struct Matrix {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t row_stride = 0;  // bytes
  std::int64_t column_stride = 0;
};

// Sets `out` to the product a b; a and b are only read, none of the three is empty, and none
// overlap. Elements of `out` are next to each other along its rows. It is called on the thread that
// called the library, in the default floating-point environment, and may throw: the exception
// passes through, and results are then incomplete.
struct Matmul {
  void (*run)(void* context, const Matrix& a, const Matrix& b, const Matrix& out) = nullptr;
  void* context = nullptr;
};

struct LinearLayer {
  ConstView x;                    // (N, D)
  ConstView w;                    // (V, D)
  std::optional<ConstView> bias;  // (V,)
  Matmul matmul;
};

struct LinearOptions {
  double temperature = 1.0;  // scores are divided by it; positive and finite
  int max_threads = 0;       // 0: num_threads(); threads of the product are its own
};

// The type of results.
DType linear_dtype(DType x, DType w) noexcept;

// Results are dense in C order, in native byte order, of linear_dtype unless another type is named,
// and share no memory with any other array of the call. All functions throw InvalidArgument (or a
// class derived from it), UnsupportedIsa, std::bad_alloc, and what the product throws.

// out: (N,)
void linear_logsumexp(const LinearLayer& layer, const View& out, const LinearOptions& options = {});

// ids: (N,) or (N, M), integers in [0, V). out, of the shape of ids: z_id - logsumexp(z).
void linear_log_prob(const LinearLayer& layer, const ConstView& ids, const View& out,
                     const LinearOptions& options = {});

// values, indices (i64): (N, k), the k largest scores of each row in the order of softmax_topk, as
// probabilities, or with `log` as their logarithms; NaN where a row has no softmax. logsumexp:
// (N,). 0 <= k <= V.
void linear_topk(const LinearLayer& layer, std::int64_t k, const View& values, const View& indices,
                 const View& logsumexp, bool log = false, const LinearOptions& options = {});

}  // namespace fastsoftmax
