// Losses of an output layer that look at the target and a sample of the other classes. With
// z = x w^T + bias, T targets t of a row, a sample s_1 .. s_S (samplers.hpp), Q_c how often class c
// is expected in it, and z' the score less log Q where the options say so,
//
//   sampled softmax     log(sum_t e^z'_t + sum_s e^z'_s) - mean_t z'_t
//   noise-contrastive   mean_t of (-log sigma(z'_t)) - (1 - 1/T) sum_t log sigma(-z'_t)
//                       - sum_s log sigma(-z'_s), with log Q subtracted everywhere
//   negative sampling   the same without log Q
//
// LogQ::negatives subtracts log Q from the sample's scores only: then sum_s e^z'_s is an unbiased
// estimate of the sum over all classes that may be drawn, and where targets' classes are among
// these (remove_hits false), the logarithm of the estimate is on average at most that of the sum:
// E[loss] <= the loss of the full softmax plus what counting the target twice adds. LogQ::all is
// TensorFlow's convention: scores are then those of a classifier among candidates, target and
// sample, each drawn with its Q. Accidental hits, classes of the sample that are targets of the
// row, are left out with remove_hits, each of them where the sample has it several times.
//
// The rows of w that are needed are gathered once, scores of as many rows as fit in `tile_bytes`
// are formed by the product (linear.hpp), and gradients are those of the rows of w that took part:
// nothing is as large as w.
//
// Error: given the scores, that of cross_entropy.hpp; terms of the logistic losses are within 4 u
// of themselves and added in double. Types and threads: as in linear.hpp; the bits of scores and
// gradients are those of the product.
//
// Sources: Bengio and Senecal (2008); Jean et al. (2015), sampled softmax; Gutmann and Hyvarinen
// (2010), Mnih and Teh (2012), noise-contrastive estimation; Mikolov et al. (2013), negative
// sampling.
#pragma once

#include <cstdint>
#include <optional>

#include "fastsoftmax/cross_entropy.hpp"
#include "fastsoftmax/linear.hpp"
#include "fastsoftmax/sparse_rows.hpp"

namespace fastsoftmax {

// From which scores the logarithm of the expected count is subtracted.
enum class LogQ : std::uint8_t { none, negatives, all };

struct ClassSample {
  ConstView ids;                 // i64 (S,), classes in any order, perhaps several times
  ConstView log_expected_count;  // f64 (S,), finite
  // f64, of the shape of the targets: of these; only for LogQ::all.
  std::optional<ConstView> target_log_expected_count;
};

struct SampledLossOptions {
  bool remove_hits = true;
  Reduction reduction = Reduction::mean;
  std::int64_t ignore_index = -100;
  std::optional<ConstView> grad_out;  // as in CrossEntropyOptions
  int max_threads = 0;                // 0: num_threads(); threads of the product are its own
  std::int64_t tile_bytes = std::int64_t{32} << 20;
};

// Null: not wanted. Dense in C order, in native byte order, of linear_dtype, apart from all other
// arrays.
struct SampledLossOutputs {
  View loss;                           // (N,), or with a reduction no axes
  View grad_x;                         // (N, D)
  SparseRows* grad_weights = nullptr;  // rows of w in the sample or among the targets
  SparseRows* grad_bias = nullptr;     // the same, one column
};

// targets: i64 (N,) or (N, T). Rows whose first target is ignore_index have loss and gradient 0;
// the mean over no rows is NaN.
//
// Throws InvalidArgument (or a class derived from it; InvalidIndex for a class that the layer does
// not have), for LogQ::all also where a target has log expected count -inf; UnsupportedIsa,
// std::bad_alloc, before anything is written, and what the product throws.
void sampled_softmax_loss(const LinearLayer& layer, const ConstView& targets,
                          const ClassSample& sample, LogQ logq, const SampledLossOutputs& out,
                          const SampledLossOptions& options = {});
void nce_loss(const LinearLayer& layer, const ConstView& targets, const ClassSample& sample,
              const SampledLossOutputs& out, const SampledLossOptions& options = {});
void negative_sampling_loss(const LinearLayer& layer, const ConstView& targets,
                            const ClassSample& sample, const SampledLossOutputs& out,
                            const SampledLossOptions& options = {});

}  // namespace fastsoftmax
