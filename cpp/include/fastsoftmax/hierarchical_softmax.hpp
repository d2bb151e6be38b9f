// Hierarchical softmax: the probability of a class is the product of the probabilities of the
// choices on the way from the root of a tree (tree.hpp) to its leaf, so that loss and gradient cost
// as much as the way is long.
//
//   binary trees:  log p(leaf) = sum over the inner nodes n on its way of log sigma(+- z_n),
//                  z_n = <x, w_n> + b_n, + where the way takes code 0
//   other trees:   log p(leaf) = sum over the ids c on its way, the root left out, of
//                  (z_c - log sum over c and its siblings s of e^z_s)
//
// Rows are taken in the order of their leaves, so that vectors near the root stay in cache, and
// nothing is as large as the matrix of all vectors: gradients are those of the vectors that were
// touched (sparse_rows.hpp).
//
// Error, given the scores: each term of a log-probability is within 3 ulp of itself, and terms,
// which all have the same sign, are added in double and rounded once. A score is within (D / 16 +
// 6) u of the sum of |x_k w_k| and |b|, u = 2^-24 (f64: D / 8, 2^-53).
//
// The result for a row depends on that row, the weights and the tree alone, and the gradient of the
// weights on the batch: not on instruction set, threads or layout. Products are our own.
//
// Types: arithmetic is float64 where x or weights have that type or integers, else float32, and so
// are results. NaN and infinite scores have the results that the formulas give them.
//
// Sources: Morin and Bengio, Hierarchical Probabilistic Neural Network Language Model (2005);
// Goodman, Classes for Fast Maximum Entropy Training (2001); Mikolov et al. (2013).
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

#include "fastsoftmax/cross_entropy.hpp"
#include "fastsoftmax/sparse_rows.hpp"
#include "fastsoftmax/tree.hpp"
#include "fastsoftmax/types.hpp"
#include "fastsoftmax/view.hpp"

namespace fastsoftmax {

struct TreeLayer {
  const Tree* tree = nullptr;
  ConstView x;                         // (N, D)
  ConstView nodes;                     // (num_nodes, D): vectors of inner nodes. Where the tree is
                                       // not binary the root has none, its row is not read, and
                                       // if it is the last one it may be missing.
  std::optional<ConstView> node_bias;  // one for each row of nodes
  // Of trees that are not binary, and only of these:
  std::optional<ConstView> leaves;     // (V, D)
  std::optional<ConstView> leaf_bias;  // (V,), with node_bias
};

// The type of results.
DType tree_dtype(const TreeLayer& layer) noexcept;

// All functions throw InvalidArgument (or a class derived from it; InvalidIndex for an id that is
// no leaf), UnsupportedIsa, std::bad_alloc, before anything is written. Results are dense in C
// order, in native byte order, of tree_dtype unless another type is named, and share no memory with
// any other array of the call.

struct TreeLossOptions {
  Reduction reduction = Reduction::mean;
  std::int64_t ignore_index = -100;
  std::optional<ConstView> grad_out;  // as in CrossEntropyOptions
  int max_threads = 0;
};

// Null: not wanted. Rows of weights that no target's way touches are not among the gradients. Their
// ids are rows of `nodes` in a binary tree, else ids of the tree: leaves, and num_leaves + node.
struct TreeLossOutputs {
  View loss;                           // (N,), or with a reduction no axes
  View grad_x;                         // (N, D)
  SparseRows* grad_weights = nullptr;  // D columns
  SparseRows* grad_bias = nullptr;     // one column
};

// -log p(targets). targets: i64 (N,), leaves or ignore_index, of which loss and gradient are 0. The
// mean is that over rows that are not ignored, NaN over none.
void hierarchical_loss(const TreeLayer& layer, const ConstView& targets, const TreeLossOutputs& out,
                       const TreeLossOptions& options = {});

// log p of chosen leaves, i64 (N,) or (N, M); out has the shape of ids.
void hierarchical_log_prob(const TreeLayer& layer, const ConstView& ids, const View& out,
                           int max_threads = 0);
// ... of all leaves; out: (N, V).
void hierarchical_log_prob(const TreeLayer& layer, const View& out, int max_threads = 0);

struct TreeSearchOptions {
  double min_log_prob = -std::numeric_limits<double>::infinity();  // leaves below it are left out
  // 0: exact. Else a search level by level that keeps so many of the best nodes and leaves.
  std::int64_t beam = 0;
  int max_threads = 0;
};

// The k most probable leaves of each row in descending order, ties of values by leaf: values, log
// p, and indices (i64), both (N, k); -inf and -1 where fewer are found. visited (i64, (N,)), where
// not null, gets how many inner nodes were looked at. The search is best-first and exact, since no
// leaf is more probable than a node above it. Leaves below a NaN score, which are NaN, come when
// the search comes to that node; with a beam they are first of what is left.
void hierarchical_topk(const TreeLayer& layer, std::int64_t k, const View& values,
                       const View& indices, const View* visited = nullptr,
                       const TreeSearchOptions& options = {});

// A leaf for each row, i64 (N,), drawn on a walk from the root down. The random numbers of row r at
// depth d are those that Philox4x32-10 gives for the key `seed`, `position` and row r + 2^32 d.
// Where a score is NaN, any leaf below may be drawn.
void hierarchical_sample(const TreeLayer& layer, std::uint64_t seed, std::uint32_t position,
                         const View& out, int max_threads = 0);

}  // namespace fastsoftmax
