#include "fastsoftmax/hierarchical_softmax.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "loss_options.h"
#include "tree_batch.h"
#include "tree_layer.h"
#include "tree_leaves.h"
#include "tree_loss.h"
#include "tree_search.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

void check_ids(const ConstView& ids, const char* what) {
  check_view(ids, what);
  check_data(ids, what);
  check_dtype(ids, DType::i64, what);
}

template <class T>
void run(const TreeLoss<T>& loss) {
  if (loss.sources.tree().is_binary())
    binary_tree_loss(loss);
  else
    tree_softmax_loss(loss);
}

}  // namespace

void hierarchical_loss(const TreeLayer& layer, const ConstView& targets, const TreeLossOutputs& out,
                       const TreeLossOptions& options) {
  check_tree_layer(layer);
  check_ids(targets, "targets");
  if (options.grad_out) check_view(*options.grad_out, "grad_out");
  const std::int64_t rows = layer.x.shape[0];
  const std::int64_t columns = layer.x.shape[1];
  if (targets.shape.size() != 1 || targets.shape[0] != rows)
    throw InvalidArgument("targets have shape " + shape_text(targets.shape) + " for " +
                          std::to_string(rows) + " rows");
  with_tree_arithmetic(layer, [&]<class T>() {
    constexpr DType dtype = dtype_of_arithmetic<T>;
    const ConstView* const upstream_view = options.grad_out ? &*options.grad_out : nullptr;
    const bool with_loss = out.loss.data != nullptr;
    if (with_loss && options.reduction == Reduction::none)
      check_tree_output(layer, out.loss, "loss", dtype, {rows}, {&targets, upstream_view});
    else if (with_loss)
      check_tree_output(layer, out.loss, "loss", dtype, {}, {&targets, upstream_view});
    const ConstView loss_view = as_input(out.loss);
    const bool with_x = out.grad_x.data != nullptr;
    if (with_x)
      check_tree_output(layer, out.grad_x, "grad_x", dtype, {rows, columns},
                        {&targets, upstream_view, with_loss ? &loss_view : nullptr});
    const TreeSources<T> sources(layer, options.max_threads);
    const auto wanted = elements_of<std::int64_t>(targets, targets.shape, "targets");
    const TreeBatch batch(*layer.tree, wanted, 1, options.ignore_index);
    const auto count = static_cast<double>(batch.size());
    std::vector<double> losses(wanted.size(), 0.0);
    TreeLoss<T> loss{sources, batch, losses.data()};
    std::vector<double> upstream;
    if (with_x || out.grad_weights != nullptr || out.grad_bias != nullptr) {
      CrossEntropyOptions as_options;
      as_options.reduction = options.reduction;
      as_options.grad_out = options.grad_out;
      upstream = upstream_of(as_options, targets.shape, count);
      loss.upstream = &upstream;
      loss.grad_weights = out.grad_weights;
      loss.grad_bias = out.grad_bias;
      if (with_x) {
        loss.grad_x = static_cast<T*>(out.grad_x.data);
        std::fill_n(loss.grad_x, rows * columns, T(0));
      }
    }
    run(loss);
    if (with_loss) put_losses(out.loss, losses, options.reduction, count);
  });
}

void hierarchical_log_prob(const TreeLayer& layer, const ConstView& ids, const View& out,
                           int max_threads) {
  check_tree_layer(layer);
  check_ids(ids, "ids");
  const std::int64_t rows = layer.x.shape[0];
  if (ids.shape.empty() || ids.shape.size() > 2 || ids.shape[0] != rows)
    throw InvalidArgument("ids have shape " + shape_text(ids.shape) + " for " +
                          std::to_string(rows) + " rows; expected (N,) or (N, M)");
  const bool matrix = ids.shape.size() == 2;
  with_tree_arithmetic(layer, [&]<class T>() {
    constexpr DType dtype = dtype_of_arithmetic<T>;
    if (matrix)
      check_tree_output(layer, out, "out", dtype, {rows, ids.shape[1]}, {&ids});
    else
      check_tree_output(layer, out, "out", dtype, {rows}, {&ids});
    const TreeSources<T> sources(layer, max_threads);
    const auto wanted = elements_of<std::int64_t>(ids, ids.shape, "ids");
    const TreeBatch batch(*layer.tree, wanted, matrix ? ids.shape[1] : 1);
    std::vector<double> losses(wanted.size(), 0.0);
    run(TreeLoss<T>{sources, batch, losses.data()});
    T* const to = static_cast<T*>(out.data);
    for (std::size_t i = 0; i < losses.size(); ++i)
      to[i] = static_cast<T>(losses[i] == losses[i] ? 0.0 - losses[i] : kNan);
  });
}

void hierarchical_log_prob(const TreeLayer& layer, const View& out, int max_threads) {
  check_tree_layer(layer);
  with_tree_arithmetic(layer, [&]<class T>() {
    check_tree_output(layer, out, "out", dtype_of_arithmetic<T>,
                      {layer.x.shape[0], layer.tree->num_leaves()});
    const TreeSources<T> sources(layer, max_threads);
    T* const to = static_cast<T*>(out.data);
    if (sources.rows() == 0) return;
    if (layer.tree->is_binary())
      binary_log_probs(sources, to);
    else
      tree_softmax_log_probs(sources, to);
  });
}

void hierarchical_topk(const TreeLayer& layer, std::int64_t k, const View& values,
                       const View& indices, const View* visited, const TreeSearchOptions& options) {
  check_tree_layer(layer);
  const std::int64_t rows = layer.x.shape[0];
  if (k < 0 || k > layer.tree->num_leaves())
    throw InvalidArgument("k must be between 0 and the number of leaves, " +
                          std::to_string(layer.tree->num_leaves()) + ", got " + std::to_string(k));
  if (std::isnan(options.min_log_prob)) throw InvalidArgument("min_log_prob must not be NaN");
  if (options.beam < 0)
    throw InvalidArgument("beam must be positive, got " + std::to_string(options.beam));
  with_tree_arithmetic(layer, [&]<class T>() {
    check_tree_output(layer, values, "values", dtype_of_arithmetic<T>, {rows, k});
    const ConstView taken = as_input(values);
    check_tree_output(layer, indices, "indices", DType::i64, {rows, k}, {&taken});
    const ConstView also = as_input(indices);
    if (visited != nullptr)
      check_tree_output(layer, *visited, "visited", DType::i64, {rows}, {&taken, &also});
    const TreeSources<T> sources(layer, options.max_threads);
    search_tree(sources,
                {k, options.min_log_prob, options.beam, values.data,
                 static_cast<std::int64_t*>(indices.data),
                 visited == nullptr ? nullptr : static_cast<std::int64_t*>(visited->data)});
  });
}

void hierarchical_sample(const TreeLayer& layer, std::uint64_t seed, std::uint32_t position,
                         const View& out, int max_threads) {
  check_tree_layer(layer);
  with_tree_arithmetic(layer, [&]<class T>() {
    check_tree_output(layer, out, "out", DType::i64, {layer.x.shape[0]});
    const TreeSources<T> sources(layer, max_threads);
    sample_tree(sources, seed, position, static_cast<std::int64_t*>(out.data));
  });
}

}  // namespace fastsoftmax
