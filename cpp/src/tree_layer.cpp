#include "tree_layer.h"

#include <algorithm>
#include <array>
#include <string>

#include "axis_call.h"
#include "linear_checks.h"
#include "score_rows.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

void check_rows(const ConstView& view, const char* what, std::int64_t rows, const ConstView& x) {
  check_view(view, what);
  check_data(view, what);
  const std::array expected = {rows, x.shape[1]};
  if (!std::ranges::equal(view.shape, expected))
    throw InvalidArgument(std::string(what) + " have shape " + shape_text(view.shape) +
                          ", expected " + shape_text(expected));
}

void check_bias(const std::optional<ConstView>& bias, const char* what, std::int64_t count) {
  if (!bias) return;
  check_view(*bias, what);
  check_data(*bias, what);
  const std::array expected = {count};
  if (!std::ranges::equal(bias->shape, expected))
    throw InvalidArgument(std::string(what) + " has shape " + shape_text(bias->shape) +
                          ", expected " + shape_text(expected));
}

// In place where that can be, since a call may need but a few of them; else a copy.
template <class T>
const T* bias_of(const std::optional<ConstView>& bias, const char* what, std::vector<T>& copy) {
  if (!bias) return nullptr;
  const bool dense = bias->shape[0] <= 1 || bias->strides[0] == sizeof(T);
  const bool aligned = reinterpret_cast<std::uintptr_t>(bias->data) % alignof(T) == 0;
  if (bias->dtype == dtype_of_arithmetic<T> && !bias->byteswapped && dense && aligned)
    return static_cast<const T*>(bias->data);
  copy = converted_elements<T>(*bias, what);
  return copy.data();
}

}  // namespace

DType tree_dtype(const TreeLayer& layer) noexcept {
  const DType of_nodes = linear_dtype(layer.x.dtype, layer.nodes.dtype);
  return layer.leaves ? linear_dtype(of_nodes, layer.leaves->dtype) : of_nodes;
}

void check_tree_layer(const TreeLayer& layer) {
  if (layer.tree == nullptr) throw InvalidArgument("the layer has no tree");
  const Tree& tree = *layer.tree;
  check_view(layer.x, "x");
  check_data(layer.x, "x");
  if (layer.x.shape.size() != 2)
    throw InvalidArgument("x must have 2 dimensions, not shape " + shape_text(layer.x.shape));
  std::int64_t nodes = tree.num_nodes();
  const bool without_root = !tree.is_binary() && nodes > 0 && tree.root() == nodes - 1 &&
                            !layer.nodes.shape.empty() && layer.nodes.shape[0] == nodes - 1;
  if (without_root) --nodes;
  check_rows(layer.nodes, "node weights", nodes, layer.x);
  check_bias(layer.node_bias, "node bias", nodes);
  if (tree.is_binary() && (layer.leaves || layer.leaf_bias))
    throw InvalidArgument("the leaves of a binary tree have no weights");
  if (tree.is_binary()) return;
  if (!layer.leaves) throw InvalidArgument("the layer has no weights of leaves");
  check_rows(*layer.leaves, "leaf weights", tree.num_leaves(), layer.x);
  check_bias(layer.leaf_bias, "leaf bias", tree.num_leaves());
  if (layer.node_bias.has_value() != layer.leaf_bias.has_value())
    throw InvalidArgument("there is a bias of nodes or of leaves but not of both");
}

void check_tree_output(const TreeLayer& layer, const View& out, const char* what, DType dtype,
                       std::initializer_list<std::int64_t> shape,
                       std::initializer_list<const ConstView*> others) {
  const auto given = [](const std::optional<ConstView>& view) { return view ? &*view : nullptr; };
  check_dense(out, what, dtype, std::span(shape.begin(), shape.size()));
  check_apart(out, what,
              {&layer.x, &layer.nodes, given(layer.node_bias), given(layer.leaves),
               given(layer.leaf_bias)});
  check_apart(out, what, others);
}

template <class T>
TreeSources<T>::TreeSources(const TreeLayer& layer, int max_threads)
    : tree_(*layer.tree),
      x_(layer.x, "x"),
      nodes_(layer.nodes, "node weights"),
      leaves_(layer.leaves ? *layer.leaves : layer.nodes, "leaf weights"),
      node_bias_(bias_of<T>(layer.node_bias, "node bias", converted_node_bias_)),
      leaf_bias_(bias_of<T>(layer.leaf_bias, "leaf bias", converted_leaf_bias_)),
      all_x_(x_.all(converted_x_)),
      kernels_(layer_kernels<T>()),
      threads_(call_threads(max_threads)) {}

template <class T>
std::int64_t TreeSources<T>::buffered_children(Id node) const {
  const auto ids = tree_.children(node);
  const bool some_leaves = std::ranges::any_of(ids, [this](Id id) { return is_leaf(id); });
  const bool some_nodes = !std::ranges::all_of(ids, [this](Id id) { return is_leaf(id); });
  const bool direct = (!some_leaves || leaves_.is_direct()) && (!some_nodes || nodes_.is_direct());
  return direct && some_leaves != some_nodes ? 0 : static_cast<std::int64_t>(ids.size());
}

template <class T>
kernels::ChosenRows TreeSources<T>::children(Id node, T* buffer) const {
  const auto ids = tree_.children(node);
  const auto count = static_cast<std::int64_t>(ids.size());
  const auto first_node = static_cast<Id>(tree_.num_leaves());
  if (buffered_children(node) == 0) {
    if (is_leaf(ids[0])) return leaves_.choose(ids.data(), count, 0, nullptr);
    return nodes_.choose(ids.data(), count, first_node, nullptr);
  }
  T* to = buffer;
  for (const Id id : ids) {
    if (is_leaf(id))
      leaves_.copy(id, to);
    else
      nodes_.copy(id - first_node, to);
    to += depth();
  }
  return {buffer, depth() * static_cast<std::int64_t>(sizeof(T)), nullptr, 0};
}

template class TreeSources<float>;
template class TreeSources<double>;

}  // namespace fastsoftmax
