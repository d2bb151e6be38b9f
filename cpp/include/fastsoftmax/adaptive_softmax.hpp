// Adaptive softmax: an output layer over many classes sorted by how frequent they are, whose rare
// classes share clusters with fewer inputs. Of C + K scores of the head, C are those of the
// frequent classes and K those of clusters; cluster i has an input of its own, h_i = x P_i^T, and
//
//   log p(c) = log_softmax(x head^T + bias)_c                                              c < C
//   log p(c) = log_softmax(x head^T + bias)_(C + i) + log_softmax(h_i tail_i^T)_(c - first_i)
//
// so that a batch pays for a cluster only with the rows whose targets are in it. Every sum is that
// of the linear layers (linear.hpp): scores come tile by tile, in little memory, and products are
// the caller's.
//
// Error: given the scores, both terms are formed in double (loss: cross_entropy.hpp; else as in
// linear_log_prob) and their sum is rounded once. Gradients as in linear_cross_entropy.hpp.
//
// Special values: a row whose scores of the head have no softmax (NaN, +inf, nothing above -inf)
// has NaN everywhere; a cluster's scores concern the classes of that cluster alone.
//
// Types: inputs of any types. All arithmetic is float64 where one of the arrays has that type or
// integers, else float32. Results have the arithmetic type.
//
// Source: Grave, Joulin, Cisse, Grangier and Jegou, Efficient softmax approximation for GPUs
// (2017).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fastsoftmax/cross_entropy.hpp"
#include "fastsoftmax/linear.hpp"
#include "fastsoftmax/sampling.hpp"

namespace fastsoftmax {

// K clusters, at least one. Shapes say how many classes there are: [0, C) in the head, then those
// of the clusters side by side.
struct AdaptiveLayer {
  ConstView x;                             // (N, D)
  ConstView head;                          // (C + K, D), C >= 1
  std::optional<ConstView> head_bias;      // (C + K,)
  std::span<const ConstView> projections;  // K of (D_i, D)
  std::span<const ConstView> tails;        // K of (V_i, D_i), V_i >= 1
  Matmul matmul;
};

// The type of results, and the number of classes.
DType adaptive_dtype(const AdaptiveLayer& layer) noexcept;
std::int64_t adaptive_classes(const AdaptiveLayer& layer);

struct AdaptiveOptions {
  std::int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;
  std::optional<ConstView> grad_out;  // as in CrossEntropyOptions
  int max_threads = 0;                // 0: num_threads(); threads of the product are its own
  std::int64_t tile_bytes = std::int64_t{48} << 20;  // as in LinearCrossEntropyOptions
};

// Views of null data and empty spans are not wanted. Gradients have the shapes of the arrays whose
// they are; loss is (N,) or, with a reduction, has no axes.
struct AdaptiveOutputs {
  View loss;
  View grad_x;
  View grad_head;
  View grad_head_bias;
  std::span<const View> grad_projections;  // K
  std::span<const View> grad_tails;        // K
};

// Outputs are dense in C order, in native byte order, of adaptive_dtype unless another type is
// named, and share no memory with any other array of the call. All functions throw InvalidArgument
// (or a class derived from it: InvalidIndex for a class that is none), UnsupportedIsa,
// std::bad_alloc, before anything is written, and what the product throws.

// The loss -log p(target) and its gradients. `targets`: i64 (N,) in native byte order. Rows whose
// target is ignore_index have loss and gradient 0; the mean over no rows is NaN, its gradient 0.
void adaptive_loss(const AdaptiveLayer& layer, const ConstView& targets, const AdaptiveOutputs& out,
                   const AdaptiveOptions& options = {});

// ids: i64 (N,) or (N, M), or none for all classes in order. out, of the shape of ids or (N, V):
// log p. A cluster's scores are computed for the rows that ask for one of its classes.
void adaptive_log_prob(const AdaptiveLayer& layer, const std::optional<ConstView>& ids,
                       const View& out, int max_threads = 0);

// values, indices (i64): (N, k), the k classes with the largest log p of each row in descending
// order, equal ones by class; NaN counts as largest. They are compared before they are rounded. A
// class is never more probable than its cluster, so a cluster's scores are computed only for the
// rows where the cluster is more probable than the k-th best class so far; a NaN in weights that no
// row needs stays unseen. 0 <= k <= V.
void adaptive_topk(const AdaptiveLayer& layer, std::int64_t k, const View& values,
                   const View& indices, int max_threads = 0);

// indices: i64 (N,), a class drawn for each row: an entry of the head as sample() draws it from the
// head's scores, and where that is a cluster, one of its classes likewise, with every bit of the
// seed inverted. Arrays in `random` broadcast against (N, 1).
void adaptive_sample(const AdaptiveLayer& layer, const View& indices,
                     const RandomSource& random = {}, int max_threads = 0);

// What a batch costs, in multiplications of a product, as in the paper: the loss and gradients of n
// of its `rows` rows with k classes of d inputs take
//
//   call + max(least, (n + weights) * k) * (d + score)
//
// where `score` is what else happens to a score, `weights` how many rows the weights of a class,
// which are read and whose gradients are written, are worth by themselves, and `least` a number of
// scores fewer than which take as long. A cluster also pays for its projection. The paper, on a
// GPU, has `least` and not the two others; the default constants are fitted to one AVX-512 core,
// n = 1 to 1024, k = 500 to 40,000, d = 8 to 512, where `least` alone would be off by factors
// of 10.
struct AdaptiveCost {
  double rows = 1024;
  double call = 3e5;
  double least = 0;
  double weights = 14;
  double score = 11;
};

// The ends of the head and of all clusters but the last, such that a batch costs least: with
// `counts` f64 (V,) how often each class occurs, descending, `clusters` of them, in a layer of
// `inputs` inputs, of which cluster i has inputs / div_value^(i + 1), rounded down but at least 1.
// Exact, by dynamic programming in O(clusters * V log V). Throws InvalidArgument for counts that
// ascend, are negative, not finite or all zero, fewer classes than clusters + 1, and numbers out of
// range.
std::vector<std::int64_t> adaptive_cutoffs(const ConstView& counts, std::int64_t inputs,
                                           std::int64_t clusters, double div_value = 4.0,
                                           const AdaptiveCost& cost = {});

}  // namespace fastsoftmax
