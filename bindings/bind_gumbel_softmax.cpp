// gumbel_softmax.
#include <array>
#include <optional>

#include "axis_result.h"
#include "bind.h"
#include "fastcall.h"
#include "fastsoftmax/gumbel_softmax.hpp"
#include "gumbel_softmax_docs.h"
#include "per_row.h"
#include "request.h"

namespace fastsoftmax::python {

namespace {

constexpr Parameters<12> gumbel_softmax_parameters{
    "gumbel_softmax",
    2,
    {"logits", "temperature", "hard", "seed", "axis", "position", "row_ids", "where", "empty",
     "out", "dtype", "return_soft"},
    2};

py::object gumbel_softmax_of(const Arguments<12>& a) {
  Request request(Op::softmax, {.name = "logits",
                                .x = a[0],
                                .axis = a[4],
                                .temperature = a[1],
                                .where = a[7],
                                .empty = a[8],
                                .out = a[9],
                                .dtype = a[10]});
  const Operand& x = request.operand();
  const int axis = read_single_axis(a[4], x.view.ndim);
  GumbelSoftmaxOptions options;
  options.hard = read_flag(a[2]);
  const bool return_soft = read_flag(a[11]);
  if (return_soft && !options.hard)
    throw py::value_error("return_soft is for hard=True; otherwise the soft result is returned");
  const Options& core = request.options();
  options.temperature = {core.temperature, core.temperatures};
  options.where = core.where;
  options.empty = core.empty;
  options.dtype = core.dtype;
  Operand seed;
  Operand position;
  Operand row_ids;
  read_per_row(a[5], "position", position, options.random.position);
  read_row_ids(a[6], row_ids, options.random.row_ids);
  // Last, so that an argument of a wrong type does not take a number from a generator.
  read_seed(a[3], seed, options.random.seed);
  if (!return_soft) {
    return request.compute([&] { gumbel_softmax(request.x(), axis, request.result(), options); });
  }
  ArrayView soft = x.view;
  soft.dtype = request.result().dtype;
  soft.byteswapped = false;
  soft.writeable = true;
  set_keep_order_strides(x.view, soft);
  const py::object array = new_result(x, soft);
  const py::object hard = request.compute([&] {
    const View out = soft.as_output();
    gumbel_softmax(request.x(), axis, request.result(), options, &out);
  });
  return named("GumbelSoftmax", py::make_tuple(hard, hand_back(x, array, soft.dtype)));
}

PyObject* gumbel_softmax_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs,
                               PyObject* keywords) {
  return call_guarded(gumbel_softmax_parameters, args, nargs, keywords, gumbel_softmax_of);
}

}  // namespace

void register_gumbel_softmax(py::module_& module) {
  static PyMethodDef method =
      fastcall_method("gumbel_softmax", gumbel_softmax_entry, gumbel_softmax_doc);
  add_fastcall(module, method);
}

}  // namespace fastsoftmax::python
