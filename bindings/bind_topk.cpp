// softmax_topk and topk.
#include <array>
#include <optional>
#include <string>

#include "axis_result.h"
#include "bind.h"
#include "errors.h"
#include "fastcall.h"
#include "fastsoftmax/topk.hpp"
#include "on_gpu.h"
#include "topk_docs.h"

namespace fastsoftmax::python {

namespace {

constexpr Parameters<9> softmax_topk_parameters{
    "softmax_topk",
    3,
    {"x", "k", "axis", "temperature", "where", "normalize", "log", "empty", "return_logsumexp"},
    2};
constexpr Parameters<4> topk_parameters{"topk", 3, {"x", "k", "axis", "largest"}, 2};

Normalize read_normalize(PyObject* object) {
  const std::string_view text = read_text(object, "normalize", "full");
  if (text == "full") return Normalize::full;
  if (text == "topk") return Normalize::topk;
  throw py::value_error("normalize must be 'full' or 'topk', not '" + std::string(text) + "'");
}

py::object softmax_topk_of(const Arguments<9>& a) {
  Operand x;
  read_operand(a[0], "x", x);
  const std::int64_t k = read_int(a[1], "k");
  const int axis = read_single_axis(a[2], x.view.ndim);
  TopKOptions options;
  Operand temperatures;
  Operand where;
  if (read_temperature(a[3], options.temperature, temperatures))
    options.temperatures = temperatures.view.as_input();
  if (read_where(a[4], where)) options.where = where.view.as_input();
  options.normalize = read_normalize(a[5]);
  options.log = read_flag(a[6]);
  options.empty = read_empty(a[7]);
  const bool with_logsumexp = read_flag(a[8]);

  const DType dtype = result_dtype(x.view.dtype);
  check_k(x, k, axis);
  AxisResult values(x, axis, k, dtype);
  AxisResult indices(x, axis, k, DType::i64);
  std::optional<AxisResult> sums;
  if (with_logsumexp) sums.emplace(x, axis, 1, dtype, true);
  without_gil(x.view.size(), [&] {
    const View logsumexp = sums ? sums->view.as_output() : View{};
    softmax_topk(x.view.as_input(), k, axis, values.view.as_output(), indices.view.as_output(),
                 options, sums ? &logsumexp : nullptr);
  });
  const py::object first = hand_back(x, values.array, dtype);
  const py::object second = hand_back(x, indices.array, DType::i64);
  if (!sums) return named("SoftmaxTopK", py::make_tuple(first, second));
  return named("SoftmaxTopKLogsumexp",
               py::make_tuple(first, second, hand_back(x, sums->array, dtype, x.view.ndim == 1)));
}

py::object topk_of(const Arguments<4>& a) {
  Operand x;
  read_operand(a[0], "x", x);
  const std::int64_t k = read_int(a[1], "k");
  const int axis = read_single_axis(a[2], x.view.ndim);
  const bool largest = a[3] == nullptr || read_flag(a[3]);
  check_k(x, k, axis);
  AxisResult values(x, axis, k, x.view.dtype);
  AxisResult indices(x, axis, k, DType::i64);
  without_gil(x.view.size(), [&] {
    topk(x.view.as_input(), k, axis, values.view.as_output(), indices.view.as_output(), largest);
  });
  return named("TopK", py::make_tuple(hand_back(x, values.array, x.view.dtype),
                                      hand_back(x, indices.array, DType::i64)));
}

PyObject* softmax_topk_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs,
                             PyObject* keywords) {
  return call_guarded(softmax_topk_parameters, args, nargs, keywords, [](const Arguments<9>& a) {
    return compute_where_it_is(softmax_topk_parameters, a, softmax_topk_of);
  });
}

PyObject* topk_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(topk_parameters, args, nargs, keywords, [](const Arguments<4>& a) {
    return compute_where_it_is(topk_parameters, a, topk_of);
  });
}

}  // namespace

void register_topk(py::module_& module) {
  static std::array methods{
      fastcall_method("softmax_topk", softmax_topk_entry, softmax_topk_doc),
      fastcall_method("topk", topk_entry, topk_doc),
  };
  for (PyMethodDef& method : methods) add_fastcall(module, method);
}

}  // namespace fastsoftmax::python
