// partial_fc_sample, partial_fc_loss and its backward, whose margins and samples are read by
// _partial_fc.py.
#include "fastsoftmax/partial_fc.hpp"

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "axis_result.h"
#include "bind.h"
#include "errors.h"
#include "linear_arguments.h"
#include "loss_arguments.h"
#include "per_row.h"
#include "sparse_rows.h"

namespace fastsoftmax::python {

namespace {

// An array that shows the memory of `values`.
template <class T>
py::array give_vector(std::vector<T>&& values) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  const std::vector<T>& kept = *owned;
  const py::capsule owner(owned.release(), [](void* p) {
    std::unique_ptr<std::vector<T>>(static_cast<std::vector<T>*>(p));
  });
  return py::array_t<T>(static_cast<py::ssize_t>(kept.size()), kept.data(), owner);
}

py::object sample(const py::object& targets, const py::object& classes, const py::object& rate,
                  const py::object& seed, const py::object& position,
                  const py::object& ignore_index, const py::object& vocab_start,
                  const py::object& vocab_size) {
  Classes of_rows;
  of_rows.read(targets.ptr(), "targets");
  const std::int64_t count = read_int(classes.ptr(), "V");
  const double part = read_number(rate.ptr(), "rate");
  const DrawOptions draws = read_draw_options(seed.ptr(), position.ptr());
  PartialFCSampleOptions options;
  options.seed = draws.seed;
  options.position = draws.position;
  options.ignore_index = read_int(ignore_index.ptr(), "ignore_index");
  options.vocab_start = read_int(vocab_start.ptr(), "vocab_start");
  if (!vocab_size.is_none()) options.vocab_size = read_int(vocab_size.ptr(), "vocab_size");
  PartialFC drawn;
  without_gil(count, [&] { drawn = partial_fc_sample(of_rows.view(), count, part, options); });
  return named("PartialFC", py::make_tuple(give_vector(std::move(drawn.ids)),
                                           give_vector(std::move(drawn.remapped_targets)),
                                           give_vector(std::move(drawn.log_correction))));
}

Margin read_margin(const std::string& name) {
  if (name == "none") return Margin::none;
  if (name == "arcface") return Margin::arcface;
  if (name == "cosface") return Margin::cosface;
  throw py::value_error("margin must be 'none', 'arcface' or 'cosface', not '" + name + "'");
}

// `totals`: max and logsum, for the gradients alone; or None.
py::object loss(const py::object& x, const py::object& weights, const py::object& targets,
                const py::object& ids, const py::object& log_correction, const std::string& margin,
                const py::object& margin_size, const py::object& scale, bool normalize,
                const py::object& reduction, const py::object& ignore_index,
                const py::object& grad_out, bool need_grad, const py::object& vocab_start,
                const py::object& vocab_size, const py::object& totals) {
  const LinearArguments linear(x.ptr(), weights.ptr(), nullptr);
  Classes classes;
  classes.read(targets.ptr(), "targets");
  Classes sampled;
  sampled.read(ids.ptr(), "ids");
  PartialFCOptions options;
  options.margin = read_margin(margin);
  options.margin_size = read_number(margin_size.ptr(), "margin");
  options.scale = read_number(scale.ptr(), "scale");
  options.normalize = normalize;
  Doubles corrections;
  if (!log_correction.is_none()) {
    corrections.read(log_correction.ptr(), "log_correction");
    options.log_correction = corrections.view();
  }
  const LossOptions read({.ignore_index = ignore_index.ptr(),
                          .reduction = reduction.ptr(),
                          .grad_out = grad_out.ptr()});
  if (!need_grad && read.options.grad_out)
    throw py::value_error("grad_out is of use with need_grad only");
  options.reduction = read.options.reduction;
  options.ignore_index = read.options.ignore_index;
  options.grad_out = read.options.grad_out;
  options.vocab_start = read_int(vocab_start.ptr(), "vocab_start");
  if (!vocab_size.is_none()) options.vocab_size = read_int(vocab_size.ptr(), "vocab_size");

  const DType dtype = linear.dtype();
  const bool scalar = options.reduction != Reduction::none;
  const bool backward = !totals.is_none();
  std::array<ArrayView, 5> views;
  std::array<py::object, 5> results;
  results.fill(py::none());
  PartialFCOutputs out;
  const auto add = [&](std::size_t i, std::initializer_list<std::int64_t> shape, DType of,
                       View& to) {
    results[i] = linear.new_array(shape, of, views[i]);
    to = views[i].as_output();
  };
  if (!backward) {
    if (scalar && !options.vocab_size) add(0, {}, dtype, out.loss);
    if (!scalar && !options.vocab_size) add(0, {linear.rows()}, dtype, out.loss);
    add(1, {linear.rows()}, DType::f64, out.max);
    add(2, {linear.rows()}, DType::f64, out.logsum);
    add(3, {linear.rows()}, DType::f64, out.target_logit);
  }
  SparseRows of_weights;
  if (need_grad) {
    add(4, {linear.rows(), linear.depth()}, dtype, out.grad_x);
    out.grad_weights = &of_weights;
  }
  std::array<Doubles, 2> known;
  if (backward) {
    known[0].read(PyTuple_GET_ITEM(totals.ptr(), 0), "max");
    known[1].read(PyTuple_GET_ITEM(totals.ptr(), 1), "logsum");
  }
  {
    const py::gil_scoped_release release;
    if (backward)
      partial_fc_loss_backward(linear.layer(), classes.view(), sampled.view(), known[0].view(),
                               known[1].view(), out, options);
    else
      partial_fc_loss(linear.layer(), classes.view(), sampled.view(), out, options);
  }
  const auto give = [&](std::size_t i, DType of) {
    return results[i].is_none() ? results[i] : linear.give(results[i], of, i == 0 && scalar);
  };
  const py::object grad_weights =
      need_grad ? give_sparse_rows(std::move(of_weights), linear.classes()) : py::none();
  if (backward)
    return named("LinearGradients", py::make_tuple(give(4, dtype), grad_weights, py::none()));
  return named("LinearCrossEntropy",
               py::make_tuple(give(0, dtype), give(1, DType::f64), give(2, DType::f64),
                              give(3, DType::f64), give(4, dtype), grad_weights, py::none()));
}

}  // namespace

void register_partial_fc(py::module_& module) {
  module.def("_partial_fc_sample", &sample, py::arg("targets"), py::arg("V"), py::arg("rate"),
             py::arg("seed"), py::arg("position"), py::arg("ignore_index"), py::arg("vocab_start"),
             py::arg("vocab_size"));
  module.def("_partial_fc_loss", &loss, py::arg("x"), py::arg("W"), py::arg("targets"),
             py::arg("ids"), py::arg("log_correction"), py::arg("margin"), py::arg("margin_size"),
             py::arg("scale"), py::arg("normalize"), py::arg("reduction"), py::arg("ignore_index"),
             py::arg("grad_out"), py::arg("need_grad"), py::arg("vocab_start"),
             py::arg("vocab_size"), py::arg("totals"));
}

}  // namespace fastsoftmax::python
