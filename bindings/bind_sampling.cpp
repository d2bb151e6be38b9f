// sample, gumbel_topk and the state of Mirostat.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "axis_result.h"
#include "bind.h"
#include "errors.h"
#include "fastcall.h"
#include "fastsoftmax/sampling.hpp"
#include "on_gpu.h"
#include "per_row.h"
#include "sampling_docs.h"

namespace fastsoftmax::python {

namespace {

constexpr Parameters<14> sample_parameters{
    "sample",
    2,
    {"logits", "axis", "temperature", "top_k", "top_p", "min_p", "typical_p", "top_n_sigma",
     "where", "seed", "position", "row_ids", "return_logprobs", "top_logprobs"}};
constexpr Parameters<8> gumbel_topk_parameters{
    "gumbel_topk",
    3,
    {"logits", "k", "axis", "temperature", "where", "seed", "position", "row_ids"},
    2};

// What the functions have in common, borrowed from the caller.
struct DrawArguments {
  PyObject* logits;
  PyObject* axis;
  PyObject* temperature;
  PyObject* where;
  PyObject* seed;
  PyObject* position;
  PyObject* row_ids;
};

// The same in the core's terms. Options show these operands, so they must stay where they are.
struct Draw {
  Operand x;
  int axis;
  Operand temperature;
  Operand where;
  Operand seed;
  Operand position;
  Operand row_ids;

  // `Options` is SampleOptions or GumbelTopKOptions. The seed comes last, so that an argument
  // of a wrong type does not take a number from a generator.
  template <class Options>
  Draw(const DrawArguments& a, Options& options) {
    read_operand(a.logits, "logits", x);
    axis = read_single_axis(a.axis, x.view.ndim);
    if (read_temperature(a.temperature, options.temperature.value, temperature))
      options.temperature.values = temperature.view.as_input();
    if (read_where(a.where, where)) options.where = where.view.as_input();
    read_per_row(a.position, "position", position, options.random.position);
    read_row_ids(a.row_ids, row_ids, options.random.row_ids);
    read_seed(a.seed, seed, options.random.seed);
  }
  Draw(const Draw&) = delete;
  Draw& operator=(const Draw&) = delete;

  DType result() const { return result_dtype(x.view.dtype); }
  std::int64_t length() const { return x.view.dims()[static_cast<std::size_t>(axis)]; }
  AxisResult per_row(DType dtype) const { return AxisResult(x, axis, 1, dtype, true); }
  py::object give(const AxisResult& result, DType dtype) const {
    return hand_back(x, result.array, dtype, x.view.ndim == 1);
  }
};

std::int64_t read_top_logprobs(PyObject* object) {
  const std::int64_t n = object == nullptr ? 0 : read_int(object, "top_logprobs");
  if (n < 0) throw py::value_error("top_logprobs must not be negative, got " + std::to_string(n));
  return n;
}

// The n largest logarithms of probabilities, of the whole rows; at temperature 0 those of 1.
py::object most_likely(const Draw& draw, std::int64_t n, const SampleOptions& of) {
  TopKOptions options;
  options.log = true;
  options.where = of.where;
  options.temperature = of.temperature.value == 0 ? 1.0 : of.temperature.value;
  Operand temperatures = draw.temperature;
  if (of.temperature.values) {
    const py::module_ numpy = py::module_::import("numpy");
    temperatures.array = numpy.attr("where")(numpy.attr("equal")(draw.temperature.array, 0.0), 1.0,
                                             draw.temperature.array);
    view_array(py::reinterpret_borrow<py::array>(temperatures.array), "temperature",
               temperatures.view);
    options.temperatures = temperatures.view.as_input();
  }
  const AxisResult values(draw.x, draw.axis, n, draw.result());
  const AxisResult indices(draw.x, draw.axis, n, DType::i64);
  without_gil(draw.x.view.size(), [&] {
    softmax_topk(draw.x.view.as_input(), n, draw.axis, values.view.as_output(),
                 indices.view.as_output(), options);
  });
  return py::make_tuple(hand_back(draw.x, values.array, draw.result()),
                        hand_back(draw.x, indices.array, DType::i64));
}

py::object sample_of(const Arguments<14>& a) {
  SampleOptions options;
  std::array<Operand, 6> filters;
  read_per_row(a[3], "top_k", filters[0], options.top_k);
  read_per_row(a[4], "top_p", filters[1], options.top_p);
  read_per_row(a[5], "min_p", filters[2], options.min_p);
  read_per_row(a[6], "typical_p", filters[3], options.typical_p);
  read_per_row(a[7], "top_n_sigma", filters[4], options.top_n_sigma);
  const bool with_logprobs = read_flag(a[12]);
  const std::int64_t n = read_top_logprobs(a[13]);
  const Draw draw({a[0], a[1], a[2], a[8], a[9], a[10], a[11]}, options);
  if (n > draw.length()) {
    throw py::value_error("top_logprobs is " + std::to_string(n) + ", but rows have only " +
                          std::to_string(draw.length()) + " elements");
  }

  const AxisResult indices = draw.per_row(DType::i64);
  std::optional<AxisResult> logprobs;
  if (with_logprobs) logprobs = draw.per_row(draw.result());
  without_gil(draw.x.view.size(), [&] {
    const View out = logprobs ? logprobs->view.as_output() : View{};
    sample(draw.x.view.as_input(), draw.axis, indices.view.as_output(), options,
           logprobs ? &out : nullptr);
  });
  py::object drawn = draw.give(indices, DType::i64);
  if (!with_logprobs && n == 0) return drawn;
  const py::object none = py::none();
  const py::object given = with_logprobs ? draw.give(*logprobs, draw.result()) : none;
  const py::tuple top = n > 0 ? most_likely(draw, n, options) : py::make_tuple(none, none);
  return named("SampleResult", py::make_tuple(drawn, given, top[0], top[1]));
}

py::object gumbel_topk_of(const Arguments<8>& a) {
  const std::int64_t k = read_int(a[1], "k");
  GumbelTopKOptions options;
  const Draw draw({a[0], a[2], a[3], a[4], a[5], a[6], a[7]}, options);
  check_k(draw.x, k, draw.axis);
  const AxisResult values(draw.x, draw.axis, k, draw.result());
  const AxisResult indices(draw.x, draw.axis, k, DType::i64);
  without_gil(draw.x.view.size(), [&] {
    gumbel_topk(draw.x.view.as_input(), k, draw.axis, values.view.as_output(),
                indices.view.as_output(), options);
  });
  return named("GumbelTopK", py::make_tuple(hand_back(draw.x, values.array, draw.result()),
                                            hand_back(draw.x, indices.array, DType::i64)));
}

double read_number(PyObject* object, const char* name) {
  double number = 0;
  Operand array;
  if (read_real(object, name, number, array))
    throw py::type_error(std::string(name) + " must be a number, not an array");
  return number;
}

// The shape of the batch is not known before the first call, and mu is one number until then.
class MirostatBatch {
 public:
  MirostatBatch(const py::object& tau, const py::object& eta)
      : initial_(read_number(tau.ptr(), "tau"), read_number(eta.ptr(), "eta")), state_(initial_) {}

  py::object sample(const py::object& logits, const py::object& axis, const py::object& temperature,
                    const py::object& where, const py::object& seed, const py::object& position,
                    const py::object& row_ids) {
    SampleOptions options;
    const Draw draw({logits.ptr(), axis.ptr(), temperature.ptr(), where.ptr(), seed.ptr(),
                     position.ptr(), row_ids.ptr()},
                    options);
    std::vector<std::int64_t> batch(draw.x.view.dims().begin(), draw.x.view.dims().end());
    batch.erase(batch.begin() + draw.axis);
    if (shape_ && batch != *shape_) {
      throw py::value_error("logits have a batch of shape " + shape_text(batch) +
                            ", but mu has shape " + shape_text(*shape_) +
                            "; reset() begins a new batch");
    }
    const AxisResult indices = draw.per_row(DType::i64);
    Mirostat next = shape_ ? state_ : Mirostat(initial_.tau(), initial_.eta(), rows_of(batch));
    without_gil(draw.x.view.size(), [&] {
      next.sample(draw.x.view.as_input(), draw.axis, indices.view.as_output(), options);
    });
    state_ = std::move(next);
    shape_ = std::move(batch);
    return draw.give(indices, DType::i64);
  }

  py::array_t<double> mu() const {
    return py::array_t<double>(shape_.value_or(std::vector<std::int64_t>{}), state_.mu().data());
  }

  void reset() {
    state_ = initial_;
    shape_.reset();
  }

 private:
  static std::int64_t rows_of(const std::vector<std::int64_t>& batch) {
    std::int64_t rows = 1;
    for (const std::int64_t length : batch) rows *= length;
    return rows;
  }

  Mirostat initial_;  // of one row
  Mirostat state_;
  std::optional<std::vector<std::int64_t>> shape_;
};

PyObject* sample_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(sample_parameters, args, nargs, keywords, [](const Arguments<14>& a) {
    return compute_where_it_is(sample_parameters, a, sample_of);
  });
}

PyObject* gumbel_topk_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs,
                            PyObject* keywords) {
  return call_guarded(gumbel_topk_parameters, args, nargs, keywords, gumbel_topk_of);
}

}  // namespace

void register_sampling(py::module_& module) {
  static std::array methods{
      fastcall_method("sample", sample_entry, sample_doc),
      fastcall_method("gumbel_topk", gumbel_topk_entry, gumbel_topk_doc),
  };
  for (PyMethodDef& method : methods) add_fastcall(module, method);

  // fastsoftmax.Mirostat keeps other threads out while one of them samples.
  // The plain metaclass is what the type stub can name.
  py::class_<MirostatBatch>(module, "_Mirostat",
                            py::metaclass(reinterpret_cast<PyObject*>(&PyType_Type)),
                            "mu of each row, and the rule that moves it.")
      .def(py::init<const py::object&, const py::object&>(), py::arg("tau"), py::arg("eta"))
      .def("sample", &MirostatBatch::sample, py::arg("logits"), py::arg("axis"), py::kw_only(),
           py::arg("temperature"), py::arg("where"), py::arg("seed"), py::arg("position"),
           py::arg("row_ids"))
      .def("mu", &MirostatBatch::mu)
      .def("reset", &MirostatBatch::reset);
}

}  // namespace fastsoftmax::python
