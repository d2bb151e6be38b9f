// Partial FC: cross-entropy over the targets of a batch and a uniform sample of the other classes,
// with a margin. Between unit vectors, x^ = x / |x| and w^_c = w_c / |w_c|, with scale s,
//
//   z_c = s cos_c - log_correction_c,  cos_c = x^ . w^_c;  for the target z_t = s phi(cos_t)
//   loss = log(sum over c in ids of e^z_c) - z_t
//   phi: none     cos
//        cosface  cos - m
//        arcface  cos(theta + m), theta = arccos(cos); where cos <= cos(pi - m): cos - m sin m
//
// With ids all classes this is the full cross-entropy. Other targets of the batch are negatives of
// a row like all else. log_correction of partial_fc_sample makes the sum over the negatives an
// unbiased estimate of that over all classes that are no targets of the batch.
//
// The angle of a target is formed in double from x and w_t as they are, its sine as |w^ - cos x^|,
// and its part of the gradients, phi'(cos) (w^ - cos x^) / |x|, is added in double: nothing is lost
// where theta is small. phi of arcface has no derivative at theta = 0 (below 1e-12); there the part
// of it that has no direction is 0. A row of zeros (shorter than 2^-1022) has cosine 0 with all
// others, and gradient 0.
//
// Memory: the rows of w that are in ids, of length 1; their gradients; tiles of scores. Error:
// given the scores, that of linear_cross_entropy.hpp; unit vectors are rounded once. Types and
// threads: as in linear.hpp.
//
// Sources: An et al., Partial FC (2021) and Killing Two Birds with One Stone (2022); Deng et al.,
// ArcFace (2019); Wang et al., CosFace (2018).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "fastsoftmax/cross_entropy.hpp"
#include "fastsoftmax/linear.hpp"
#include "fastsoftmax/sparse_rows.hpp"

namespace fastsoftmax {

struct PartialFC {
  std::vector<std::int64_t> ids;  // classes, ascending
  // For each row where in ids its target is; -1 for a row that is ignored, the number of ids for a
  // class of another process.
  std::vector<std::int64_t> remapped_targets;
  // For each id what its score is less: the log of its probability to be in the sample, 0 for
  // targets.
  std::vector<double> log_correction;
};

struct PartialFCSampleOptions {
  std::uint64_t seed = 0;
  std::uint64_t position = 0;  // such as the training step; below 2^32
  std::int64_t ignore_index = -100;
  // Classes vocab_start to vocab_start + classes are this process's; with vocab_size, the number of
  // those of all, targets may be others. ids count from vocab_start.
  std::int64_t vocab_start = 0;
  std::optional<std::int64_t> vocab_size;
};

// The targets of a batch, i64 (N,), and classes that are none, drawn uniformly without replacement:
// round(rate * classes) in all, or the targets alone where these are more. Time and memory are
// O(rate * classes + N log N). Depends on the arguments alone.
//
// Throws InvalidArgument (InvalidIndex for a target that is no class) unless rate is in (0, 1],
// classes in [1, 2^32); std::bad_alloc.
PartialFC partial_fc_sample(const ConstView& targets, std::int64_t classes, double rate,
                            const PartialFCSampleOptions& options = {});

enum class Margin : std::uint8_t { none, arcface, cosface };

struct PartialFCOptions {
  Margin margin = Margin::none;
  double margin_size = 0.0;  // m: arcface 0 to pi, cosface finite and not negative
  double scale = 64.0;       // positive and finite
  // Without, scores are s x . w_c, of vectors of any length; only without a margin.
  bool normalize = true;
  std::optional<ConstView> log_correction;  // f64, one for each id, finite, 0 for targets
  Reduction reduction = Reduction::mean;
  std::int64_t ignore_index = -100;
  std::optional<ConstView> grad_out;  // as in CrossEntropyOptions
  int max_threads = 0;                // 0: num_threads(); threads of the product are its own
  // As in LinearCrossEntropyOptions.
  std::int64_t vocab_start = 0;
  std::optional<std::int64_t> vocab_size;
  std::int64_t tile_bytes = std::int64_t{48} << 20;
};

// As LinearCrossEntropyOutputs. Null: not wanted.
struct PartialFCOutputs {
  View loss;
  View max;
  View logsum;
  View target_logit;
  View grad_x;
  SparseRows* grad_weights = nullptr;  // rows of ids
};

// `layer` has no bias. `ids`: i64 (S,), rows of w, ascending, all targets of the layer among them.
// With options.vocab_size this is one of several shards: max, logsum and target_logit only, which
// merge_shards joins.
//
// Throws InvalidArgument (or a class derived from it; InvalidIndex for a target or id that is no
// class), UnsupportedIsa, std::bad_alloc, before anything is written, and what the product throws.
void partial_fc_loss(const LinearLayer& layer, const ConstView& targets, const ConstView& ids,
                     const PartialFCOutputs& out, const PartialFCOptions& options = {});

// The gradients alone, from max and logsum as partial_fc_loss or merge_shards gave them.
void partial_fc_loss_backward(const LinearLayer& layer, const ConstView& targets,
                              const ConstView& ids, const ConstView& max, const ConstView& logsum,
                              const PartialFCOutputs& out, const PartialFCOptions& options = {});

}  // namespace fastsoftmax
