// softmax, log_softmax, logsumexp and explain. The entry points are plain C functions that Python
// users call without a wrapper: a call on ten elements takes about a microsecond.
#include "bind.h"
#include "fastcall.h"
#include "fastsoftmax/plan.hpp"
#include "on_gpu.h"
#include "request.h"
#include "softmax_docs.h"

namespace fastsoftmax::python {

namespace {

constexpr Parameters<8> softmax_parameters{
    "softmax", 2, {"x", "axis", "temperature", "where", "empty", "out", "dtype", "algorithm"}};
constexpr Parameters<8> log_softmax_parameters{"log_softmax", 2, softmax_parameters.names};
constexpr Parameters<7> logsumexp_parameters{
    "logsumexp", 2, {"x", "axis", "temperature", "where", "keepdims", "out", "dtype"}};
constexpr Parameters<9> explain_parameters{
    "explain",
    2,
    {"x", "axis", "temperature", "where", "empty", "out", "dtype", "algorithm", "op"}};

template <std::size_t Count>
RawArguments softmax_arguments(const Arguments<Count>& a) {
  return {.x = a[0],
          .axis = a[1],
          .temperature = a[2],
          .where = a[3],
          .empty = a[4],
          .out = a[5],
          .dtype = a[6],
          .algorithm = a[7]};
}

RawArguments logsumexp_arguments(const Arguments<7>& a) {
  return {.x = a[0],
          .axis = a[1],
          .temperature = a[2],
          .where = a[3],
          .keepdims = a[4],
          .out = a[5],
          .dtype = a[6]};
}

template <std::size_t Count, class Read>
py::object compute(Op op, const Parameters<Count>& parameters, const Arguments<Count>& a,
                   Read read) {
  return compute_where_it_is(parameters, a, [&](const Arguments<Count>& arguments) {
    return Request(op, read(arguments)).compute();
  });
}

Op read_op(PyObject* object) {
  const std::string_view text = read_text(object, "op", "softmax");
  for (const Op op : {Op::softmax, Op::log_softmax, Op::logsumexp}) {
    if (text == name(op)) return op;
  }
  throw py::value_error("op must be 'softmax', 'log_softmax' or 'logsumexp', not '" +
                        std::string(text) + "'");
}

py::object plan_object(const Plan& plan) {
  using py::arg;
  return py::module_::import("fastsoftmax._plan")
      .attr("Plan")(arg("layout") = name(plan.layout), arg("algorithm") = name(plan.algorithm),
                    arg("stream") = plan.stream, arg("threads") = plan.threads,
                    arg("share_row") = plan.share_row, arg("rows_per_task") = plan.rows_per_task,
                    arg("tile_columns") = plan.tile_columns,
                    arg("rows_in_flight") = plan.rows_in_flight, arg("block") = plan.block,
                    arg("scratch_bytes") = plan.scratch_bytes, arg("reason") = plan.reason());
}

PyObject* softmax_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(softmax_parameters, args, nargs, keywords, [](const Arguments<8>& a) {
    return compute(Op::softmax, softmax_parameters, a, softmax_arguments<8>);
  });
}

PyObject* log_softmax_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs,
                            PyObject* keywords) {
  return call_guarded(log_softmax_parameters, args, nargs, keywords, [](const Arguments<8>& a) {
    return compute(Op::log_softmax, log_softmax_parameters, a, softmax_arguments<8>);
  });
}

PyObject* logsumexp_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(logsumexp_parameters, args, nargs, keywords, [](const Arguments<7>& a) {
    return compute(Op::logsumexp, logsumexp_parameters, a, logsumexp_arguments);
  });
}

PyObject* explain_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(explain_parameters, args, nargs, keywords, [](const Arguments<9>& a) {
    const Op op = read_op(a[8]);
    const Request request(op, softmax_arguments(a), /*out_may_keep_dims=*/true);
    return plan_object(
        explain(op, request.x(), request.result(), request.axes(), request.options()));
  });
}

}  // namespace

void register_softmax(py::module_& module) {
  static std::array methods{
      fastcall_method("softmax", softmax_entry, softmax_doc),
      fastcall_method("log_softmax", log_softmax_entry, log_softmax_doc),
      fastcall_method("logsumexp", logsumexp_entry, logsumexp_doc),
      fastcall_method("explain", explain_entry, explain_doc),
  };
  for (PyMethodDef& method : methods) add_fastcall(module, method);
}

}  // namespace fastsoftmax::python
