#include "loss_arguments.h"

#include <string>

namespace fastsoftmax::python {

Reduction read_reduction(PyObject* object) {
  const std::string_view text = read_text(object, "reduction", "mean");
  if (text == "mean") return Reduction::mean;
  if (text == "sum") return Reduction::sum;
  if (text == "none") return Reduction::none;
  throw py::value_error("reduction must be 'mean', 'sum' or 'none', not '" + std::string(text) +
                        "'");
}

double read_number(PyObject* object, const char* name) {
  double number = 0.0;
  Operand array;
  if (read_real(object, name, number, array))
    throw py::type_error(std::string(name) + " must be a number, not an array");
  return number;
}

void Doubles::read(PyObject* object, const char* name) {
  is_array = read_real(object, name, number, operand);
}

ConstView Doubles::view() const {
  return is_array ? operand.view.as_input() : ConstView{&number, DType::f64, {}, {}};
}

void Classes::read(PyObject* object, const char* name) {
  read_per_row(object, name, operand, classes);
}

ConstView Classes::view() const {
  return classes.values ? *classes.values : ConstView{&classes.value, DType::i64, {}, {}};
}

LossOptions::LossOptions(const LossArguments& a) {
  if (!absent(a.weight)) {
    weight_.read(a.weight, "weight");
    options.weight = weight_.view();
  }
  if (a.ignore_index != nullptr) options.ignore_index = read_int(a.ignore_index, "ignore_index");
  if (a.label_smoothing != nullptr)
    options.label_smoothing = read_number(a.label_smoothing, "label_smoothing");
  if (a.z_loss != nullptr) options.z_loss = read_number(a.z_loss, "z_loss");
  if (!absent(a.softcap)) {
    options.softcap = read_number(a.softcap, "softcap");
    if (options.softcap == 0.0) throw py::value_error("softcap must be positive, got 0");
  }
  options.reduction = read_reduction(a.reduction);
  if (!absent(a.grad_out)) {
    upstream_.read(a.grad_out, "grad_out");
    options.grad_out = upstream_.view();
  }
}

}  // namespace fastsoftmax::python
