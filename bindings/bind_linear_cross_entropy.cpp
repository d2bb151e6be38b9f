// linear_cross_entropy, linear_cross_entropy_backward and merge_shards.
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "axis_result.h"
#include "bind.h"
#include "errors.h"
#include "fastcall.h"
#include "fastsoftmax/linear_cross_entropy.hpp"
#include "linear_arguments.h"
#include "linear_loss_docs.h"
#include "loss_arguments.h"

namespace fastsoftmax::python {

namespace {

constexpr Parameters<16> forward_parameters{
    "linear_cross_entropy",
    4,
    {"x", "W", "targets", "bias", "weight", "ignore_index", "label_smoothing", "z_loss", "softcap",
     "reduction", "grad_out", "need_grad", "grad_mass_tol", "vocab_start", "vocab_size",
     "tile_bytes"},
    3};
constexpr Parameters<15> backward_parameters{
    "linear_cross_entropy_backward",
    5,
    {"forward", "x", "W", "targets", "bias", "grad_out", "weight", "ignore_index",
     "label_smoothing", "z_loss", "softcap", "reduction", "grad_mass_tol", "vocab_start",
     "vocab_size"},
    4};
constexpr Parameters<5> merge_parameters{
    "merge_shards", 2, {"shards", "targets", "weight", "z_loss", "reduction"}, 1};

void read_vocabulary(PyObject* mass_tol, PyObject* start, PyObject* size,
                     LinearCrossEntropyOptions& options) {
  if (mass_tol != nullptr) options.grad_mass_tol = read_number(mass_tol, "grad_mass_tol");
  if (start != nullptr) options.vocab_start = read_int(start, "vocab_start");
  if (!absent(size)) options.vocab_size = read_int(size, "vocab_size");
}

// Arrays for results and views of them, as the core wants them.
class LossResults {
 public:
  explicit LossResults(const LinearArguments& linear) : linear_(linear) {}

  void add_rows(LinearCrossEntropyOutputs& out) {
    const std::int64_t n = linear_.rows();
    max_ = linear_.new_array({n}, DType::f64, views_[0]);
    logsum_ = linear_.new_array({n}, DType::f64, views_[1]);
    target_logit_ = linear_.new_array({n}, DType::f64, views_[2]);
    out.max = views_[0].as_output();
    out.logsum = views_[1].as_output();
    out.target_logit = views_[2].as_output();
  }
  void add_loss(LinearCrossEntropyOutputs& out, Reduction reduction) {
    scalar_ = reduction != Reduction::none;
    loss_ = scalar_ ? linear_.new_array({}, linear_.dtype(), views_[3])
                    : linear_.new_array({linear_.rows()}, linear_.dtype(), views_[3]);
    out.loss = views_[3].as_output();
  }
  void add_gradients(LinearCrossEntropyOutputs& out) {
    const DType dtype = linear_.dtype();
    grad_x_ = linear_.new_array({linear_.rows(), linear_.depth()}, dtype, views_[4]);
    grad_w_ = linear_.new_array({linear_.classes(), linear_.depth()}, dtype, views_[5]);
    out.grad_x = views_[4].as_output();
    out.grad_w = views_[5].as_output();
    if (!linear_.layer().bias) return;
    grad_bias_ = linear_.new_array({linear_.classes()}, dtype, views_[6]);
    out.grad_bias = views_[6].as_output();
  }

  py::tuple rows() const {
    return py::make_tuple(give(loss_, linear_.dtype(), scalar_), give(max_, DType::f64),
                          give(logsum_, DType::f64), give(target_logit_, DType::f64));
  }
  py::tuple gradients() const {
    const DType dtype = linear_.dtype();
    return py::make_tuple(give(grad_x_, dtype), give(grad_w_, dtype), give(grad_bias_, dtype));
  }

 private:
  py::object give(const py::object& array, DType dtype, bool scalar = false) const {
    return array.is_none() ? array : linear_.give(array, dtype, scalar);
  }

  const LinearArguments& linear_;
  std::array<ArrayView, 7> views_;
  bool scalar_ = false;
  py::object loss_ = py::none();
  py::object max_ = py::none();
  py::object logsum_ = py::none();
  py::object target_logit_ = py::none();
  py::object grad_x_ = py::none();
  py::object grad_w_ = py::none();
  py::object grad_bias_ = py::none();
};

py::object forward_of(const Arguments<16>& a) {
  const LinearArguments linear(a[0], a[1], a[3]);
  Classes targets;
  targets.read(a[2], "targets");
  const LossOptions read({a[4], a[5], a[6], a[7], a[8], a[9], a[10]});
  LinearCrossEntropyOptions options;
  options.loss = read.options;
  const bool need_grad = read_flag(a[11]);
  read_vocabulary(a[12], a[13], a[14], options);
  if (a[15] != nullptr) options.tile_bytes = read_int(a[15], "tile_bytes");
  if (!need_grad && !absent(a[10])) throw py::value_error("grad_out is of use with need_grad only");
  LossResults results(linear);
  LinearCrossEntropyOutputs out;
  results.add_rows(out);
  if (!options.vocab_size) results.add_loss(out, options.loss.reduction);
  if (need_grad) results.add_gradients(out);
  {
    const py::gil_scoped_release release;
    linear_cross_entropy(linear.layer(), targets.view(), out, options);
  }
  return named("LinearCrossEntropy", py::tuple(results.rows() + results.gradients()));
}

py::object attribute(PyObject* forward, const char* name) {
  PyObject* const value = PyObject_GetAttrString(forward, name);
  if (value == nullptr && PyErr_ExceptionMatches(PyExc_AttributeError) == 0)
    throw py::error_already_set();
  PyErr_Clear();
  // Arrays have a method `max`.
  auto field = py::reinterpret_steal<py::object>(value);
  if (field && PyCallable_Check(field.ptr()) == 0) return field;
  throw py::type_error("expected a LinearCrossEntropy, not " + type_name(forward));
}

// A field of a LinearCrossEntropy.
struct Field {
  py::object object;
  Doubles values;

  ConstView read(PyObject* forward, const char* name) {
    object = attribute(forward, name);
    values.read(object.ptr(), name);
    return values.view();
  }
};

py::object backward_of(const Arguments<15>& a) {
  const LinearArguments linear(a[1], a[2], a[4]);
  Field max;
  Field logsum;
  const ConstView maxima = max.read(a[0], "max");
  const ConstView sums = logsum.read(a[0], "logsum");
  Classes targets;
  targets.read(a[3], "targets");
  const LossOptions read({a[6], a[7], a[8], a[9], a[10], a[11], a[5]});
  LinearCrossEntropyOptions options;
  options.loss = read.options;
  read_vocabulary(a[12], a[13], a[14], options);
  LossResults results(linear);
  LinearCrossEntropyOutputs out;
  results.add_gradients(out);
  {
    const py::gil_scoped_release release;
    linear_cross_entropy_backward(linear.layer(), targets.view(), maxima, sums, out, options);
  }
  return named("LinearGradients", results.gradients());
}

py::object merge_of(const Arguments<5>& a) {
  if (PyTuple_Check(a[0]) && py::hasattr(a[0], "logsum"))
    throw py::type_error("shards must be a sequence of LinearCrossEntropy, not one of them");
  const auto list =
      py::reinterpret_steal<py::object>(PySequence_Fast(a[0], "shards must be a sequence"));
  if (!list) throw py::error_already_set();
  const auto count = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(list.ptr()));
  if (count == 0) throw py::value_error("there are no shards to merge");
  std::vector<std::array<Field, 3>> fields(count);
  std::vector<LinearShard> shards(count);
  for (std::size_t s = 0; s < count; ++s) {
    PyObject* const shard = PySequence_Fast_GET_ITEM(list.ptr(), static_cast<Py_ssize_t>(s));
    shards[s].max = fields[s][0].read(shard, "max");
    shards[s].logsum = fields[s][1].read(shard, "logsum");
    shards[s].target_logit = fields[s][2].read(shard, "target_logit");
  }
  Classes targets;
  std::optional<ConstView> classes;
  if (!absent(a[1])) {
    targets.read(a[1], "targets");
    classes = targets.view();
  }
  const LossOptions read({a[2], nullptr, nullptr, a[3], nullptr, a[4], nullptr});
  // Results are of the kind of the first shard's max.
  const Doubles& first = fields[0][0].values;
  const Operand& like = first.operand;
  if (!first.is_array || like.view.ndim != 1)
    throw py::value_error("max of a shard must have 1 dimension");
  const bool scalar = read.options.reduction != Reduction::none;
  std::array<ArrayView, 4> views;
  std::array<py::object, 4> arrays;
  const std::int64_t n = like.view.shape[0];
  const auto new_array_of = [&](std::size_t i, std::initializer_list<std::int64_t> shape) {
    arrays[i] = new_dense_result(like, shape, DType::f64, views[i]);
  };
  if (scalar)
    new_array_of(0, {});
  else
    new_array_of(0, {n});
  new_array_of(1, {n});
  new_array_of(2, {n});
  const Doubles& scores = fields[0][2].values;
  if (scores.is_array && scores.operand.view.ndim == 2)
    new_array_of(3, {n, scores.operand.view.shape[1]});
  else
    new_array_of(3, {n});
  const LinearCrossEntropyOutputs out{views[0].as_output(),
                                      views[1].as_output(),
                                      views[2].as_output(),
                                      views[3].as_output(),
                                      {},
                                      {},
                                      {}};
  merge_shards(shards, classes, out, read.options);
  const auto give = [&](std::size_t i) {
    return hand_back(like, arrays[i], DType::f64, i == 0 && scalar);
  };
  return named("LinearCrossEntropy", py::make_tuple(give(0), give(1), give(2), give(3), py::none(),
                                                    py::none(), py::none()));
}

PyObject* forward_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(forward_parameters, args, nargs, keywords, forward_of);
}

PyObject* backward_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(backward_parameters, args, nargs, keywords, backward_of);
}

PyObject* merge_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(merge_parameters, args, nargs, keywords, merge_of);
}

}  // namespace

void register_linear_cross_entropy(py::module_& module) {
  static std::array methods{
      fastcall_method("linear_cross_entropy", forward_entry, linear_cross_entropy_doc),
      fastcall_method("linear_cross_entropy_backward", backward_entry,
                      linear_cross_entropy_backward_doc),
      fastcall_method("merge_shards", merge_entry, merge_shards_doc),
  };
  for (PyMethodDef& method : methods) add_fastcall(module, method);
}

}  // namespace fastsoftmax::python
