// What fastsoftmax.SparseRows is made with: sums of rows, and their addition to a matrix.
#include "sparse_rows.h"

#include <memory>
#include <string>
#include <utility>

#include "arguments.h"
#include "axis_result.h"
#include "bind.h"
#include "errors.h"
#include "loss_arguments.h"

namespace fastsoftmax::python {

namespace {

py::object add_rows_of(const py::object& weights, const py::object& ids, const py::object& values,
                       const py::object& alpha) {
  Operand w;
  read_output(weights.ptr(), "W", w);
  Classes numbers;
  numbers.read(ids.ptr(), "ids");
  Operand rows;
  read_operand(values.ptr(), "values", rows);
  if (may_overlap(w.view, rows.view)) copy_operand("values", rows);
  const double factor = read_number(alpha.ptr(), "alpha");
  without_gil(rows.view.size(),
              [&] { add_rows(w.view.as_output(), numbers.view(), rows.view.as_input(), factor); });
  return hand_back_output(w);
}

py::object coalesce_rows_of(const py::object& ids, const py::object& values,
                            const py::object& num_rows) {
  Classes numbers;
  numbers.read(ids.ptr(), "ids");
  Operand rows;
  read_operand(values.ptr(), "values", rows);
  const std::int64_t all = read_int(num_rows.ptr(), "num_rows");
  SparseRows sums;
  without_gil(rows.view.size(),
              [&] { sums = coalesce_rows(numbers.view(), rows.view.as_input(), all); });
  return give_sparse_rows(std::move(sums), all);
}

}  // namespace

py::object give_sparse_rows(SparseRows&& rows, std::int64_t num_rows) {
  auto owned = std::make_unique<SparseRows>(std::move(rows));
  SparseRows& kept = *owned;
  const py::capsule owner(
      owned.release(), [](void* p) { std::unique_ptr<SparseRows>(static_cast<SparseRows*>(p)); });
  const auto count = static_cast<py::ssize_t>(kept.ids().size());
  const auto columns = static_cast<py::ssize_t>(kept.columns());
  const py::array ids(py::dtype::of<std::int64_t>(), {count}, {}, kept.ids().data(), owner);
  const py::array values(storage_dtype(kept.dtype()), {count, columns}, {}, kept.values(), owner);
  return py::module_::import("fastsoftmax._sparse_rows").attr("SparseRows")(ids, values, num_rows);
}

void register_sparse_rows(py::module_& module) {
  module.def("_add_rows", add_rows_of, py::arg("W"), py::arg("ids"), py::arg("values"),
             py::arg("alpha"));
  module.def("_coalesce_rows", coalesce_rows_of, py::arg("ids"), py::arg("values"),
             py::arg("num_rows"));
}

}  // namespace fastsoftmax::python
