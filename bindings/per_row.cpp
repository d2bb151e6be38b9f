#include "per_row.h"

#include <unistd.h>

#include <limits>
#include <string>

#include "errors.h"

namespace fastsoftmax::python {

namespace {

bool is_python_int(PyObject* object) { return PyLong_Check(object) && !PyBool_Check(object); }

bool is_signed(DType dtype) { return dtype >= DType::i8 && dtype <= DType::i64; }

bool is_integer(DType dtype) { return !is_floating(dtype) && dtype != DType::boolean; }

std::uint64_t as_unsigned(PyObject* integer, const std::string& name) {
  const unsigned long long value = PyLong_AsUnsignedLongLong(integer);
  if (PyErr_Occurred() == nullptr) return value;
  if (PyErr_ExceptionMatches(PyExc_OverflowError) == 0) throw py::error_already_set();
  PyErr_Clear();
  const auto text = py::str(py::handle(integer)).cast<std::string>();
  throw py::value_error(name + " must " + (text[0] == '-' ? "not be negative" : "be below 2**64") +
                        ", got " + text);
}

[[noreturn]] void refuse_type(const std::string& name, const std::string& type) {
  const char* expected = name == "seed" ? "an int, an array of ints or a numpy.random.Generator"
                                        : "an int or an array of ints";
  throw py::type_error(name + " must be " + expected + ", not " + type);
}

// An array of any integer type as one of `dtype`, i64 or u64, in native byte order. i64 holds the
// nearest number it can; u64 refuses negative ones.
void read_integers(PyObject* object, const std::string& name, DType dtype, Operand& array) {
  array.source = Source::array;
  try {
    read_operand(object, name.c_str(), array);
  } catch (const py::type_error&) {
    if (array.source != Source::converted) throw;
    refuse_type(name, type_name(object));
  }
  const DType given = array.view.dtype;
  const bool empty_list = array.source == Source::converted && array.view.size() == 0;
  if (!is_integer(given) && !empty_list) {
    const bool scalar = array.view.ndim == 0 && array.source == Source::converted;
    refuse_type(
        name, scalar ? type_name(object) : "an array of " + std::string(fastsoftmax::name(given)));
  }
  if (dtype == DType::u64 && is_signed(given) && array.view.size() > 0) {
    const auto least = array.array.attr("min")().attr("item")().cast<std::int64_t>();
    if (least < 0)
      throw py::value_error(name + " must not be negative, got " + std::to_string(least));
  }
  const py::module_ numpy = py::module_::import("numpy");
  if (dtype == DType::i64 && given == DType::u64) {
    const py::int_ most(std::numeric_limits<std::int64_t>::max());
    array.array = numpy.attr("minimum")(array.array, most);
  }
  array.array = numpy.attr("asarray")(array.array, numpy_dtype(dtype));
  view_array(py::reinterpret_borrow<py::array>(array.array), name.c_str(), array.view);
}

py::int_ only_element(const Operand& array) { return py::int_(array.array.attr("item")()); }

// `read` reads an int, and `dtype` is that of its result.
template <class Int, class Read>
void read_integer_per_row(PyObject* object, const char* name, DType dtype, Read read,
                          Operand& array, PerRow<Int>& result) {
  if (is_python_int(object)) {
    result.value = read(object, name);
    return;
  }
  read_integers(object, name, dtype, array);
  if (array.view.ndim > 0) {
    result.values = array.view.as_input();
  } else {
    result.value = read(only_element(array).ptr(), name);
  }
}

std::uint64_t fresh_seed() {
  std::uint64_t seed = 0;
  if (getentropy(&seed, sizeof seed) != 0) {
    PyErr_SetFromErrno(PyExc_OSError);
    throw py::error_already_set();
  }
  return seed;
}

}  // namespace

void read_per_row(PyObject* object, const char* name, Operand& array, PerRow<double>& result) {
  if (absent(object)) return;
  if (read_real(object, name, result.value, array)) result.values = array.view.as_input();
}

void read_per_row(PyObject* object, const char* name, Operand& array,
                  PerRow<std::int64_t>& result) {
  if (!absent(object)) read_integer_per_row(object, name, DType::i64, read_int, array, result);
}

void read_per_row(PyObject* object, const char* name, Operand& array,
                  PerRow<std::uint64_t>& result) {
  if (object != nullptr) read_integer_per_row(object, name, DType::u64, as_unsigned, array, result);
}

void read_seed(PyObject* object, Operand& array, PerRow<std::uint64_t>& seed) {
  if (absent(object)) {
    seed.value = fresh_seed();
    return;
  }
  if (is_python_int(object)) return read_per_row(object, "seed", array, seed);
  const py::object numpy = py::module_::import("numpy");
  if (py::isinstance(object, numpy.attr("random").attr("Generator"))) {
    const py::int_ drawn(py::handle(object).attr("integers")(
        0, py::int_(1).attr("__lshift__")(64), py::arg("dtype") = numpy.attr("uint64")));
    seed.value = as_unsigned(drawn.ptr(), "seed");
    return;
  }
  read_per_row(object, "seed", array, seed);
}

DrawOptions read_draw_options(PyObject* seed, PyObject* position) {
  const auto single = [](const PerRow<std::uint64_t>& value, const char* name) {
    if (value.values) throw py::type_error(std::string(name) + " must be an int, not an array");
    return value.value;
  };
  DrawOptions options;
  Operand array;
  PerRow<std::uint64_t> number;
  read_seed(seed, array, number);
  options.seed = single(number, "seed");
  read_per_row(position, "position", array, number);
  options.position = single(number, "position");
  return options;
}

void read_row_ids(PyObject* object, Operand& array, std::optional<PerRow<std::uint64_t>>& row_ids) {
  if (!absent(object)) read_per_row(object, "row_ids", array, row_ids.emplace());
}

}  // namespace fastsoftmax::python
