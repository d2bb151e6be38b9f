// What fastsoftmax.HierarchicalSoftmax and ClassSoftmax are made with.
#include <pybind11/numpy.h>

#include <cstdint>
#include <limits>
#include <string>

#include "arguments.h"
#include "bind.h"
#include "errors.h"
#include "fastsoftmax/class_softmax.hpp"
#include "fastsoftmax/hierarchical_softmax.hpp"
#include "per_row.h"
#include "request.h"
#include "sparse_loss.h"

namespace fastsoftmax::python {

namespace {

// The arrays of a layer. Weights and biases of leaves are None in binary trees.
class TreeArguments {
 public:
  TreeArguments(const Tree& tree, const py::tuple& arrays) {
    layer_.tree = &tree;
    read(arrays[0], "x", x_);
    read(arrays[1], "node_weights", nodes_);
    layer_.x = x_.view.as_input();
    layer_.nodes = nodes_.view.as_input();
    read_some(arrays[2], "node_bias", node_bias_, layer_.node_bias);
    read_some(arrays[3], "leaf_weights", leaves_, layer_.leaves);
    read_some(arrays[4], "leaf_bias", leaf_bias_, layer_.leaf_bias);
    if (x_.view.ndim != 2)
      throw py::value_error("x must have 2 dimensions, not shape " + shape_text(x_.view.dims()));
  }
  TreeArguments(const TreeArguments&) = delete;
  TreeArguments& operator=(const TreeArguments&) = delete;

  const TreeLayer& layer() const { return layer_; }
  DType dtype() const { return tree_dtype(layer_); }
  std::int64_t rows() const { return x_.view.shape[0]; }
  std::int64_t columns() const { return x_.view.shape[1]; }
  std::int64_t leaves() const { return layer_.tree->num_leaves(); }
  // Of the matrix that gradients are rows of.
  std::int64_t num_rows() const { return layer_.tree->num_weights(); }

  py::object new_array(std::initializer_list<std::int64_t> shape, DType dtype,
                       ArrayView& view) const {
    return new_dense_result(x_, shape, dtype, view);
  }
  py::object give(const py::object& array, DType dtype, bool scalar = false) const {
    return hand_back(x_, array, dtype, scalar);
  }

 private:
  static void read(const py::object& object, const char* name, Operand& operand) {
    read_operand(object.ptr(), name, operand);
  }
  static void read_some(const py::object& object, const char* name, Operand& operand,
                        std::optional<ConstView>& view) {
    if (object.is_none()) return;
    read(object, name, operand);
    view = operand.view.as_input();
  }

  Operand x_, nodes_, node_bias_, leaves_, leaf_bias_;
  TreeLayer layer_;
};

py::tuple loss(const Tree& tree, const py::tuple& arrays, const py::object& targets,
               const py::object& reduction, const py::object& ignore_index,
               const py::object& grad_out, const py::object& need_grad) {
  const TreeArguments a(tree, arrays);
  Classes classes;
  classes.read(targets.ptr(), "targets");
  SparseLoss<TreeArguments, TreeLossOptions, TreeLossOutputs> loss(
      a, a.columns(), a.num_rows(), a.layer().node_bias.has_value(),
      {.ignore_index = ignore_index.ptr(),
       .reduction = reduction.ptr(),
       .grad_out = grad_out.ptr()},
      read_flag(need_grad.ptr()));
  {
    const py::gil_scoped_release release;
    hierarchical_loss(a.layer(), classes.view(), loss.out, loss.options);
  }
  return loss.give();
}

py::object log_prob(const Tree& tree, const py::tuple& arrays, const py::object& ids) {
  const TreeArguments a(tree, arrays);
  ArrayView view;
  py::object out;
  if (ids.is_none()) {
    out = a.new_array({a.rows(), a.leaves()}, a.dtype(), view);
    const py::gil_scoped_release release;
    hierarchical_log_prob(a.layer(), view.as_output());
  } else {
    Classes wanted;
    wanted.read(ids.ptr(), "ids");
    const ConstView chosen = wanted.view();
    out = chosen.shape.size() == 2 ? a.new_array({a.rows(), chosen.shape[1]}, a.dtype(), view)
                                   : a.new_array({a.rows()}, a.dtype(), view);
    const py::gil_scoped_release release;
    hierarchical_log_prob(a.layer(), chosen, view.as_output());
  }
  return a.give(out, a.dtype());
}

py::tuple topk(const Tree& tree, const py::tuple& arrays, const py::object& count,
               const py::object& min_log_prob, const py::object& beam) {
  const TreeArguments a(tree, arrays);
  const std::int64_t k = read_int(count.ptr(), "k");
  TreeSearchOptions options;
  options.min_log_prob = read_number(min_log_prob.ptr(), "min_log_prob");
  if (!beam.is_none()) {
    options.beam = read_int(beam.ptr(), "beam");
    if (options.beam < 1)
      throw py::value_error("beam must be positive, got " + std::to_string(options.beam));
  }
  // Throws before results of that size are allocated.
  if (k < 0 || k > a.leaves()) hierarchical_topk(a.layer(), k, {}, {}, nullptr, options);
  ArrayView values_view;
  ArrayView indices_view;
  ArrayView visited_view;
  const py::object values = a.new_array({a.rows(), k}, a.dtype(), values_view);
  const py::object indices = a.new_array({a.rows(), k}, DType::i64, indices_view);
  const py::object visited = a.new_array({a.rows()}, DType::i64, visited_view);
  {
    const View visits = visited_view.as_output();
    const py::gil_scoped_release release;
    hierarchical_topk(a.layer(), k, values_view.as_output(), indices_view.as_output(), &visits,
                      options);
  }
  return py::make_tuple(a.give(values, a.dtype()), a.give(indices, DType::i64),
                        a.give(visited, DType::i64));
}

py::object sample(const Tree& tree, const py::tuple& arrays, const py::object& seed,
                  const py::object& position) {
  const TreeArguments a(tree, arrays);
  const std::int64_t at = read_int(position.ptr(), "position");
  if (at < 0 || at > std::numeric_limits<std::uint32_t>::max())
    throw py::value_error("position must be in [0, 2**32), got " + std::to_string(at));
  Operand seeds;
  PerRow<std::uint64_t> key;
  ArrayView view;
  const py::object out = a.new_array({a.rows()}, DType::i64, view);
  read_seed(seed.ptr(), seeds, key);
  if (key.values) throw py::type_error("seed must be an int or a numpy.random.Generator");
  {
    const py::gil_scoped_release release;
    hierarchical_sample(a.layer(), key.value, static_cast<std::uint32_t>(at), view.as_output());
  }
  return a.give(out, DType::i64);
}

py::array frequency_classes_of(const py::array_t<std::int64_t, py::array::c_style>& counts,
                               const py::object& classes) {
  const std::int64_t number = read_int(classes.ptr(), "classes");
  const auto labels =
      frequency_classes({counts.data(), static_cast<std::size_t>(counts.size())}, number);
  return py::array_t<std::int64_t>(static_cast<py::ssize_t>(labels.size()), labels.data());
}

}  // namespace

void register_hierarchical_softmax(py::module_& module) {
  module.def("_tree_loss", &loss, py::arg("tree"), py::arg("arrays"), py::arg("targets"),
             py::arg("reduction"), py::arg("ignore_index"), py::arg("grad_out"),
             py::arg("need_grad"));
  module.def("_tree_log_prob", &log_prob, py::arg("tree"), py::arg("arrays"), py::arg("ids"));
  module.def("_tree_topk", &topk, py::arg("tree"), py::arg("arrays"), py::arg("k"),
             py::arg("min_log_prob"), py::arg("beam"));
  module.def("_tree_sample", &sample, py::arg("tree"), py::arg("arrays"), py::arg("seed"),
             py::arg("position"));
  module.def("_frequency_classes", &frequency_classes_of, py::arg("counts"), py::arg("classes"));
}

}  // namespace fastsoftmax::python
