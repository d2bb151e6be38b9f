// The arrays of a tree's layer, checked, in the arithmetic type.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "call_threads.h"
#include "dispatch.h"
#include "fastsoftmax/hierarchical_softmax.hpp"
#include "row_source.h"
#include "tasks.h"

namespace fastsoftmax {

// Throws where arrays of the layer do not fit the tree or each other.
void check_tree_layer(const TreeLayer& layer);
// Throws unless `out` is dense, of the given type and shape, and apart from the layer and `others`,
// null for what is not there.
void check_tree_output(const TreeLayer& layer, const View& out, const char* what, DType dtype,
                       std::initializer_list<std::int64_t> shape,
                       std::initializer_list<const ConstView*> others = {});

template <class T>
class TreeSources {
 public:
  using Id = Tree::Id;

  // A layer that check_tree_layer has seen.
  TreeSources(const TreeLayer& layer, int max_threads);

  const Tree& tree() const { return tree_; }
  std::int64_t rows() const { return x_.rows(); }
  std::int64_t depth() const { return x_.columns(); }
  int threads() const { return threads_; }
  // As many as so many elements of products pay for.
  int threads_for(std::int64_t elements) const {
    return fastsoftmax::threads_for(elements, threads_);
  }
  const kernels::LayerKernels& kernels() const { return kernels_; }

  const kernels::ChosenRows& x() const { return all_x_; }
  kernels::ChosenRows x(const std::int32_t* rows) const {
    return {all_x_.data, all_x_.stride, rows, 0};
  }

  bool is_direct() const { return nodes_.is_direct() && leaves_.is_direct(); }
  // Vectors of inner nodes; `buffer` as for RowSource.
  kernels::ChosenRows nodes(const Id* ids, std::int64_t count, T* buffer) const {
    return nodes_.choose(ids, count, 0, buffer);
  }
  // Null: none.
  const T* node_bias() const { return node_bias_; }

  // Trees that are not binary: vectors of a node's children, and their biases. `buffer` has room
  // for them.
  kernels::ChosenRows children(Id node, T* buffer) const;
  // How many vectors the buffer needs room for.
  std::int64_t buffered_children(Id node) const;
  bool has_bias() const { return leaf_bias_ != nullptr; }
  T bias(Id id) const {
    const auto leaves = static_cast<Id>(tree_.num_leaves());
    return is_leaf(id) ? leaf_bias_[id] : node_bias_[id - leaves];
  }

 private:
  bool is_leaf(Id id) const { return id < tree_.num_leaves(); }

  const Tree& tree_;
  RowSource<T> x_;
  RowSource<T> nodes_;
  RowSource<T> leaves_;  // those of nodes where leaves have none
  std::vector<T> converted_node_bias_;
  std::vector<T> converted_leaf_bias_;
  const T* node_bias_;
  const T* leaf_bias_;
  Buffer<T> converted_x_;
  kernels::ChosenRows all_x_;
  const kernels::LayerKernels& kernels_;
  int threads_;
};

extern template class TreeSources<float>;
extern template class TreeSources<double>;

// f<float>() or f<double>(), whichever the layer is computed in, in the default environment.
template <class F>
auto with_tree_arithmetic(const TreeLayer& layer, F f) {
  const baseline::DefaultFloatEnvironment environment;
  if (tree_dtype(layer) == DType::f64) return f.template operator()<double>();
  return f.template operator()<float>();
}

}  // namespace fastsoftmax
