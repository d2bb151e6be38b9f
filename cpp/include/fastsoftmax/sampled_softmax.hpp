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
// A vocabulary may be split over processes. Every term belongs to a class, and so to one part: a
// hit lies where its target does. The logistic losses are sums of terms, so those of the parts add
// up, as do all gradients with respect to x. Of the sampled softmax, with (M_i, L_i) over the terms
// of part i,
//
//   M = max_i M_i,   L = log sum_i e^(M_i - M + L_i),   loss = mean_t (L - (z'_t - M))
//   d loss / d z'_c = e^(z'_c - M - L) - (the share of c among the targets)
//
// so that (M_i, L_i) and the targets' scores are all that is exchanged (merge_shards), and each
// part forms its gradients from M and L. Samplers give all processes the same sample for one seed.
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
  // w holds the classes from vocab_start on. With vocab_size, the number of classes that all
  // processes have, targets and sample may be classes of others; see below.
  std::int64_t vocab_start = 0;
  std::optional<std::int64_t> vocab_size;
};

// Null: not wanted. Dense in C order, in native byte order, apart from all other arrays; loss and
// gradients of linear_dtype.
struct SampledLossOutputs {
  View loss;                           // (N,), or with a reduction no axes
  View grad_x;                         // (N, D)
  SparseRows* grad_weights = nullptr;  // rows of w in the sample or among the targets
  SparseRows* grad_bias = nullptr;     // the same, one column
  // Of the sampled softmax, f64. With M the largest score of the row's targets and sample:
  View max{};           // (N,): M
  View logsum{};        // (N,): log of the sum of e^(z' - M)
  View target_logit{};  // of the shape of the targets: z'; -inf for another process's class
};

// targets: i64 (N,) or (N, T). Rows whose first target is ignore_index have loss and gradient 0
// (max -inf, logsum and target_logit 0); the mean over no rows is NaN.
//
// With options.vocab_size w is one of several parts of the vocabulary, and all processes pass the
// same x, targets and sample. Of sampled_softmax_loss this gives max, logsum and target_logit only,
// for merge_shards; losses and gradients of the others are those of the part's terms.
//
// Throws InvalidArgument (or a class derived from it; InvalidIndex for a class that the layer does
// not have), for LogQ::all also where a target has log expected count -inf; UnsupportedIsa,
// std::bad_alloc, before anything is written, and what the product throws.
void sampled_softmax_loss(const LinearLayer& layer, const ConstView& targets,
                          const ClassSample& sample, LogQ logq, const SampledLossOutputs& out,
                          const SampledLossOptions& options = {});
// The gradients alone, from max and logsum as sampled_softmax_loss or merge_shards gave them.
void sampled_softmax_loss_backward(const LinearLayer& layer, const ConstView& targets,
                                   const ClassSample& sample, LogQ logq, const ConstView& max,
                                   const ConstView& logsum, const SampledLossOutputs& out,
                                   const SampledLossOptions& options = {});
void nce_loss(const LinearLayer& layer, const ConstView& targets, const ClassSample& sample,
              const SampledLossOutputs& out, const SampledLossOptions& options = {});
void negative_sampling_loss(const LinearLayer& layer, const ConstView& targets,
                            const ClassSample& sample, const SampledLossOutputs& out,
                            const SampledLossOptions& options = {});

}  // namespace fastsoftmax
