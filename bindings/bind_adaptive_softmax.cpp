// What fastsoftmax.AdaptiveSoftmax calls.
#include <array>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "axis_result.h"
#include "bind.h"
#include "errors.h"
#include "fastcall.h"
#include "fastsoftmax/adaptive_softmax.hpp"
#include "linear_arguments.h"
#include "loss_arguments.h"

namespace fastsoftmax::python {

namespace {

constexpr Parameters<7> loss_parameters{
    "_adaptive_loss",
    7,
    {"x", "weights", "targets", "reduction", "ignore_index", "grad_out", "need_grad"},
    7};
constexpr Parameters<3> log_prob_parameters{"_adaptive_log_prob", 3, {"x", "weights", "ids"}, 3};
constexpr Parameters<3> topk_parameters{"_adaptive_topk", 3, {"x", "weights", "k"}, 3};
constexpr Parameters<5> sample_parameters{
    "_adaptive_sample", 5, {"x", "weights", "seed", "position", "row_ids"}, 5};
constexpr Parameters<5> cutoffs_parameters{
    "_adaptive_cutoffs", 5, {"counts", "in_features", "clusters", "div_value", "cost"}, 5};

py::tuple as_tuple(PyObject* sequence) {
  auto tuple = py::reinterpret_steal<py::tuple>(PySequence_Tuple(sequence));
  if (!tuple) throw py::error_already_set();
  return tuple;
}

// x and an AdaptiveWeights. The layer shows what the operands hold.
class AdaptiveArguments {
 public:
  AdaptiveArguments(PyObject* x, PyObject* weights) {
    const py::tuple fields = as_tuple(weights);
    if (fields.size() != 4) throw py::type_error("weights must be an AdaptiveWeights");
    layer_.x = read(x, "x");
    layer_.head = read(fields[0].ptr(), "head");
    read_all(fields[1].ptr(), "projections", projections_);
    read_all(fields[2].ptr(), "tails", tails_);
    if (!fields[3].is_none()) layer_.head_bias = read(fields[3].ptr(), "head_bias");
    layer_.projections = projections_;
    layer_.tails = tails_;
    layer_.matmul = matmul_.matmul();
    classes_ = adaptive_classes(layer_);
    dtype_ = adaptive_dtype(layer_);
  }
  AdaptiveArguments(const AdaptiveArguments&) = delete;
  AdaptiveArguments& operator=(const AdaptiveArguments&) = delete;

  const AdaptiveLayer& layer() const { return layer_; }
  DType dtype() const { return dtype_; }
  std::int64_t rows() const { return layer_.x.shape[0]; }
  std::int64_t classes() const { return classes_; }

  // A new array, dense in C order, and what the caller gets of it: of the kind of x.
  py::object new_array(std::initializer_list<std::int64_t> shape, DType dtype,
                       ArrayView& view) const {
    return new_dense_result(operands_.front(), shape, dtype, view);
  }
  py::object give(const py::object& array, DType dtype, bool scalar = false) const {
    return hand_back(operands_.front(), array, dtype, scalar);
  }

 private:
  ConstView read(PyObject* object, const std::string& name) {
    read_operand(object, name.c_str(), operands_.emplace_back());
    return operands_.back().view.as_input();
  }
  void read_all(PyObject* sequence, const std::string& name, std::vector<ConstView>& views) {
    const py::tuple arrays = as_tuple(sequence);
    for (std::size_t i = 0; i < arrays.size(); ++i)
      views.push_back(read(arrays[i].ptr(), name + "[" + std::to_string(i) + "]"));
  }

  std::deque<Operand> operands_;  // x first; a deque leaves them where they are
  std::vector<ConstView> projections_;
  std::vector<ConstView> tails_;
  NumpyMatmul matmul_;
  AdaptiveLayer layer_;
  std::int64_t classes_;
  DType dtype_;
};

// New arrays of the shapes of some of the layer's.
class Gradients {
 public:
  explicit Gradients(const AdaptiveArguments& arguments) : arguments_(arguments) {}

  View add(const ConstView& like) {
    ArrayView& view = views_.emplace_back();
    const DType dtype = arguments_.dtype();
    arrays_.append(like.shape.size() == 1
                       ? arguments_.new_array({like.shape[0]}, dtype, view)
                       : arguments_.new_array({like.shape[0], like.shape[1]}, dtype, view));
    return view.as_output();
  }
  std::vector<View> add_all(std::span<const ConstView> like) {
    std::vector<View> views;
    for (const ConstView& of : like) views.push_back(add(of));
    return views;
  }
  // In the order in which they were added.
  py::object next() { return arguments_.give(py::object(arrays_[given_++]), arguments_.dtype()); }
  py::tuple next(std::size_t count) {
    py::tuple arrays(count);
    for (std::size_t i = 0; i < count; ++i) arrays[i] = next();
    return arrays;
  }

 private:
  const AdaptiveArguments& arguments_;
  std::deque<ArrayView> views_;
  py::list arrays_;
  std::size_t given_ = 0;
};

py::object loss_of(const Arguments<7>& a) {
  const AdaptiveArguments arguments(a[0], a[1]);
  const AdaptiveLayer& layer = arguments.layer();
  Classes targets;
  targets.read(a[2], "targets");
  const LossOptions read({.ignore_index = a[4], .reduction = a[3], .grad_out = a[5]});
  const bool need_grad = read_flag(a[6]);
  if (!need_grad && !absent(a[5])) throw py::value_error("grad_out is of use with need_grad only");
  AdaptiveOptions options;
  options.ignore_index = read.options.ignore_index;
  options.reduction = read.options.reduction;
  options.grad_out = read.options.grad_out;

  ArrayView loss_view;
  const bool scalar = options.reduction != Reduction::none;
  const py::object loss =
      scalar ? arguments.new_array({}, arguments.dtype(), loss_view)
             : arguments.new_array({arguments.rows()}, arguments.dtype(), loss_view);
  AdaptiveOutputs out;
  out.loss = loss_view.as_output();
  Gradients gradients(arguments);
  std::vector<View> projections;
  std::vector<View> tails;
  if (need_grad) {
    out.grad_x = gradients.add(layer.x);
    out.grad_head = gradients.add(layer.head);
    projections = gradients.add_all(layer.projections);
    tails = gradients.add_all(layer.tails);
    if (layer.head_bias) out.grad_head_bias = gradients.add(*layer.head_bias);
    out.grad_projections = projections;
    out.grad_tails = tails;
  }
  {
    const py::gil_scoped_release release;
    adaptive_loss(layer, targets.view(), out, options);
  }
  py::object given = arguments.give(loss, arguments.dtype(), scalar);
  if (!need_grad) return given;
  const py::object grad_x = gradients.next();
  const py::object head = gradients.next();
  const py::tuple of_projections = gradients.next(projections.size());
  const py::tuple of_tails = gradients.next(tails.size());
  const py::object bias = layer.head_bias ? gradients.next() : py::object(py::none());
  return named("AdaptiveLoss",
               py::make_tuple(
                   given, grad_x,
                   named("AdaptiveWeights", py::make_tuple(head, of_projections, of_tails, bias))));
}

py::object log_prob_of(const Arguments<3>& a) {
  const AdaptiveArguments arguments(a[0], a[1]);
  Classes ids;
  std::optional<ConstView> wanted;
  if (!absent(a[2])) {
    ids.read(a[2], "ids");
    wanted = ids.view();
  }
  const bool vector = wanted && wanted->shape.size() != 2;
  const std::int64_t columns = wanted && !vector ? wanted->shape[1] : arguments.classes();
  ArrayView view;
  const py::object result =
      vector ? arguments.new_array({arguments.rows()}, arguments.dtype(), view)
             : arguments.new_array({arguments.rows(), columns}, arguments.dtype(), view);
  {
    const py::gil_scoped_release release;
    adaptive_log_prob(arguments.layer(), wanted, view.as_output());
  }
  return arguments.give(result, arguments.dtype());
}

py::object topk_of(const Arguments<3>& a) {
  const AdaptiveArguments arguments(a[0], a[1]);
  const std::int64_t k = read_int(a[2], "k");
  // Throws before results of that size are allocated.
  if (k < 0 || k > arguments.classes()) adaptive_topk(arguments.layer(), k, {}, {});
  ArrayView values_view;
  ArrayView indices_view;
  const py::object values =
      arguments.new_array({arguments.rows(), k}, arguments.dtype(), values_view);
  const py::object indices = arguments.new_array({arguments.rows(), k}, DType::i64, indices_view);
  {
    const py::gil_scoped_release release;
    adaptive_topk(arguments.layer(), k, values_view.as_output(), indices_view.as_output());
  }
  return named("TopK", py::make_tuple(arguments.give(values, arguments.dtype()),
                                      arguments.give(indices, DType::i64)));
}

py::object sample_of(const Arguments<5>& a) {
  const AdaptiveArguments arguments(a[0], a[1]);
  Operand seed;
  Operand position;
  Operand row_ids;
  RandomSource random;
  read_per_row(a[3], "position", position, random.position);
  read_row_ids(a[4], row_ids, random.row_ids);
  read_seed(a[2], seed, random.seed);
  ArrayView view;
  const py::object indices = arguments.new_array({arguments.rows()}, DType::i64, view);
  {
    const py::gil_scoped_release release;
    adaptive_sample(arguments.layer(), view.as_output(), random);
  }
  return arguments.give(indices, DType::i64);
}

py::object cutoffs_of(const Arguments<5>& a) {
  Doubles counts;
  counts.read(a[0], "counts");
  const py::tuple numbers = as_tuple(a[4]);
  if (numbers.size() != 5) throw py::type_error("cost must be an AdaptiveCost");
  const auto number = [&](std::size_t i, const char* name) {
    return read_number(numbers[i].ptr(), name);
  };
  const AdaptiveCost cost{number(0, "rows"), number(1, "call"), number(2, "least"),
                          number(3, "weights"), number(4, "score")};
  const auto cutoffs =
      adaptive_cutoffs(counts.view(), read_int(a[1], "in_features"), read_int(a[2], "clusters"),
                       read_number(a[3], "div_value"), cost);
  py::tuple result(cutoffs.size());
  for (std::size_t i = 0; i < cutoffs.size(); ++i) result[i] = py::int_(cutoffs[i]);
  return result;
}

PyObject* loss_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(loss_parameters, args, nargs, keywords, loss_of);
}

PyObject* log_prob_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(log_prob_parameters, args, nargs, keywords, log_prob_of);
}

PyObject* topk_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(topk_parameters, args, nargs, keywords, topk_of);
}

PyObject* sample_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(sample_parameters, args, nargs, keywords, sample_of);
}

PyObject* cutoffs_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(cutoffs_parameters, args, nargs, keywords, cutoffs_of);
}

}  // namespace

void register_adaptive_softmax(py::module_& module) {
  static std::array methods{
      fastcall_method("_adaptive_loss", loss_entry, "See AdaptiveSoftmax.loss."),
      fastcall_method("_adaptive_log_prob", log_prob_entry, "See AdaptiveSoftmax.log_prob."),
      fastcall_method("_adaptive_topk", topk_entry, "See AdaptiveSoftmax.topk."),
      fastcall_method("_adaptive_sample", sample_entry, "See AdaptiveSoftmax.sample."),
      fastcall_method("_adaptive_cutoffs", cutoffs_entry, "See AdaptiveSoftmax.from_counts."),
  };
  for (PyMethodDef& method : methods) add_fastcall(module, method);
}

}  // namespace fastsoftmax::python
