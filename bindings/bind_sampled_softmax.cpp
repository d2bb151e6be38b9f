// sampled_softmax_loss, nce_loss and negative_sampling_loss, whose samples are objects of Python
// (_sampled_softmax.py).
#include <array>
#include <optional>
#include <string>

#include "bind.h"
#include "errors.h"
#include "fastsoftmax/sampled_softmax.hpp"
#include "linear_arguments.h"
#include "sparse_loss.h"

namespace fastsoftmax::python {

namespace {

// (ids, log expected counts, those of the targets or None)
struct SampleArguments {
  Classes ids;
  Doubles logs;
  Doubles target_logs;
  ClassSample sample;

  explicit SampleArguments(const py::tuple& parts) {
    ids.read(PyTuple_GET_ITEM(parts.ptr(), 0), "ids of the sample");
    logs.read(PyTuple_GET_ITEM(parts.ptr(), 1), "log_expected_count");
    sample.ids = ids.view();
    sample.log_expected_count = logs.view();
    PyObject* const of_targets = PyTuple_GET_ITEM(parts.ptr(), 2);
    if (absent(of_targets)) return;
    target_logs.read(of_targets, "log expected counts of targets");
    sample.target_log_expected_count = target_logs.view();
  }
  SampleArguments(const SampleArguments&) = delete;
  SampleArguments& operator=(const SampleArguments&) = delete;
};

LogQ read_logq(PyObject* object) {
  if (object == Py_None) return LogQ::none;
  const std::string_view text = read_text(object, "logq", "negatives");
  if (text == "negatives") return LogQ::negatives;
  if (text == "all") return LogQ::all;
  throw py::value_error("logq must be 'negatives', 'all' or None, not '" + std::string(text) + "'");
}

// Of a shard: max, logsum, target_logit.
class ShardRows {
 public:
  ShardRows(const LinearArguments& linear, const ConstView& targets) : linear_(linear) {
    const std::int64_t n = linear.rows();
    arrays_[0] = linear.new_array({n}, DType::f64, views_[0]);
    arrays_[1] = linear.new_array({n}, DType::f64, views_[1]);
    arrays_[2] = targets.shape.size() == 2
                     ? linear.new_array({n, targets.shape[1]}, DType::f64, views_[2])
                     : linear.new_array({n}, DType::f64, views_[2]);
  }
  void add_to(SampledLossOutputs& out) {
    out.max = views_[0].as_output();
    out.logsum = views_[1].as_output();
    out.target_logit = views_[2].as_output();
  }
  py::tuple give() const {
    const auto one = [this](std::size_t i) { return linear_.give(arrays_[i], DType::f64); };
    return py::make_tuple(one(0), one(1), one(2));
  }

 private:
  const LinearArguments& linear_;
  std::array<ArrayView, 3> views_;
  std::array<py::object, 3> arrays_;
};

// As sampled_softmax_loss and the others give it; of a shard of the softmax (max, logsum,
// target_logit). With `forward`, that is (max, logsum), sampled_softmax_loss_backward.
py::tuple loss(const std::string& kind, const py::object& x, const py::object& weights,
               const py::object& targets, const py::tuple& parts, const py::object& bias,
               const py::object& logq, const py::object& remove_hits, const py::object& reduction,
               const py::object& ignore_index, const py::object& grad_out,
               const py::object& need_grad, const py::object& vocab_start,
               const py::object& vocab_size, const py::object& forward) {
  const LinearArguments linear(x.ptr(), weights.ptr(), bias.ptr());
  Classes classes;
  classes.read(targets.ptr(), "targets");
  const SampleArguments sample(parts);
  const LogQ which = read_logq(logq.ptr());
  const bool wants_gradient = read_flag(need_grad.ptr());
  const bool softmax = kind == "softmax";
  const bool shard = softmax && !vocab_size.is_none();
  SparseLoss<LinearArguments, SampledLossOptions, SampledLossOutputs> loss(
      linear, linear.depth(), linear.classes(), linear.layer().bias.has_value(),
      {.ignore_index = ignore_index.ptr(),
       .reduction = reduction.ptr(),
       .grad_out = grad_out.ptr()},
      wants_gradient, !shard && forward.is_none());
  loss.options.remove_hits = read_flag(remove_hits.ptr());
  loss.options.vocab_start = read_int(vocab_start.ptr(), "vocab_start");
  if (!vocab_size.is_none()) loss.options.vocab_size = read_int(vocab_size.ptr(), "vocab_size");
  std::optional<ShardRows> rows;
  if (shard && forward.is_none()) rows.emplace(linear, classes.view()).add_to(loss.out);
  Doubles max;
  Doubles logsum;
  if (!forward.is_none()) {
    max.read(PyTuple_GET_ITEM(forward.ptr(), 0), "max");
    logsum.read(PyTuple_GET_ITEM(forward.ptr(), 1), "logsum");
  }
  {
    const py::gil_scoped_release release;
    if (!forward.is_none())
      sampled_softmax_loss_backward(linear.layer(), classes.view(), sample.sample, which,
                                    max.view(), logsum.view(), loss.out, loss.options);
    else if (softmax)
      sampled_softmax_loss(linear.layer(), classes.view(), sample.sample, which, loss.out,
                           loss.options);
    else if (kind == "nce")
      nce_loss(linear.layer(), classes.view(), sample.sample, loss.out, loss.options);
    else
      negative_sampling_loss(linear.layer(), classes.view(), sample.sample, loss.out, loss.options);
  }
  return rows ? rows->give() : loss.give();
}

}  // namespace

void register_sampled_softmax(py::module_& module) {
  module.def("_sampled_loss", &loss, py::arg("kind"), py::arg("x"), py::arg("W"),
             py::arg("targets"), py::arg("sample"), py::arg("bias"), py::arg("logq"),
             py::arg("remove_hits"), py::arg("reduction"), py::arg("ignore_index"),
             py::arg("grad_out"), py::arg("need_grad"), py::arg("vocab_start"),
             py::arg("vocab_size"), py::arg("forward") = py::none());
}

}  // namespace fastsoftmax::python
