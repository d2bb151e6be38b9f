// Cross-entropy of the scores of a linear layer (linear.hpp) and its gradients, without the scores:
// cross_entropy(x w^T + bias, targets), tile by tile.
//
// Two schedules compute gradients. The first takes as many rows as keep all of their scores within
// `tile_bytes`, and turns these into the gradient in place: three products. Where those would be
// too few rows, and in linear_cross_entropy_backward, the scores are computed a second time: four.
//
// Error: given the scores, that of cross_entropy (cross_entropy.hpp), of the loss and of the
// gradients with respect to scores. Those with respect to x, w and bias are sums of the arithmetic
// type; the order of additions depends on sizes, tile_bytes and the product alone.
//
// Sources: Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models (2025); Shoeybi et
// al., Megatron-LM (2019), for vocabularies split over processes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "fastsoftmax/cross_entropy.hpp"
#include "fastsoftmax/linear.hpp"

namespace fastsoftmax {

struct LinearCrossEntropyOptions {
  // weight has an element for each class of the whole vocabulary.
  CrossEntropyOptions loss;
  // The products that make gradients out of a block of 512 or 1024 classes and a chunk of rows are
  // left out where the classes' probabilities add up to so little in every row of the chunk that,
  // over all blocks, no row leaves out more than this. Never a block with the target of one of the
  // rows, and none at all with label smoothing. With tol the tolerance and f the factor of p in the
  // gradient of a row's scores (w_t / divisor for a mean), each row of grad_x is off by at most
  // |f| tol max_c |w_c|, and the rows of grad_w by at most the sum over rows of |f| tol |x_r|, all
  // classes together.
  double grad_mass_tol = 0.0;
  // w holds the classes from vocab_start on. With vocab_size, the number of classes that all
  // processes have, targets may be classes of others; see linear_cross_entropy.
  std::int64_t vocab_start = 0;
  std::optional<std::int64_t> vocab_size;
  // Memory for scores of the first schedule: more rows at a time make products faster.
  std::int64_t tile_bytes = std::int64_t{48} << 20;
};

// Results; views of null data are not wanted. Dense in C order, in native byte order, apart from
// all other arrays. loss and gradients have linear_dtype. With M the maximum of a row's scores:
struct LinearCrossEntropyOutputs {
  View loss;          // (N,) or, with a reduction, no axes
  View max;           // f64 (N,): M
  View logsum;        // f64 (N,): log of the sum of e^(z - M)
  View target_logit;  // f64 (N,): z_t; -inf where t is another process's class; see merge_shards
  View grad_x;        // (N, D)
  View grad_w;        // (V, D)
  View grad_bias;     // (V,), where the layer has a bias
};

// `targets`: i64 (N,) in native byte order. Rows whose target is ignore_index take no part in
// products: max is -inf, logsum and target_logit are 0, loss and gradient 0. The mean over no rows
// is NaN, its gradient 0.
//
// With options.vocab_size this is one of several shards: max, logsum and target_logit only, which
// merge_shards joins. Then label_smoothing must be 0.
//
// Throws InvalidArgument (or a class derived from it; InvalidIndex for a target that is no class),
// UnsupportedIsa, std::bad_alloc, before anything is written, and what the product throws.
void linear_cross_entropy(const LinearLayer& layer, const ConstView& targets,
                          const LinearCrossEntropyOutputs& out,
                          const LinearCrossEntropyOptions& options = {});

// The gradients alone, from max and logsum as linear_cross_entropy or merge_shards gave them: for
// a gradient of the losses that is known later, and of shards.
void linear_cross_entropy_backward(const LinearLayer& layer, const ConstView& targets,
                                   const ConstView& max, const ConstView& logsum,
                                   const LinearCrossEntropyOutputs& out,
                                   const LinearCrossEntropyOptions& options = {});

// What one shard knows of all rows: f64 (N,), target_logit of several targets (N, T).
struct LinearShard {
  ConstView max;
  ConstView logsum;
  ConstView target_logit;
};

// Joins shards in their order: the results of linear_cross_entropy, or of sampled_softmax_loss
// (sampled_softmax.hpp), over the whole vocabulary, of out's max, logsum, target_logit (of the
// shape that the shards' have) and loss (f32 or f64). The loss of several targets is the mean of
// theirs. `targets` are needed only with class weights, which go with one target for each row. Of
// the options weight, z_loss and reduction count.
void merge_shards(std::span<const LinearShard> shards, const std::optional<ConstView>& targets,
                  const LinearCrossEntropyOutputs& out, const CrossEntropyOptions& options = {});

}  // namespace fastsoftmax
