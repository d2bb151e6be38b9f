#include "arguments.h"

#include <cmath>
#include <string>

#include "dlpack.h"
#include "errors.h"

namespace fastsoftmax::python {

namespace {

PyTypeObject* ndarray_type() {
  return reinterpret_cast<PyTypeObject*>(py::detail::npy_api::get().PyArray_Type_);
}

py::object as_array(py::handle object) {
  return py::module_::import("numpy").attr("asarray")(object);
}

void view_operand(const char* name, Operand& operand) {
  view_array(py::reinterpret_borrow<py::array>(operand.array), name, operand.view);
}

void refuse_masked(py::handle object, const std::string& name) {
  if (!py::isinstance(object, py::module_::import("numpy.ma").attr("MaskedArray"))) return;
  throw py::type_error(
      name + " is a MaskedArray, whose mask would be ignored; pass " + name + ".data" +
      (name == "x" || name == "logits" ? " and where=~numpy.ma.getmaskarray(" + name + ")" : ""));
}

// What speaks DLPack says itself where it is.
void refuse_gpu(py::handle object, const char* name) {
  if (py::hasattr(object, "__cuda_array_interface__"))
    throw OnGpu(name, std::string(name) + " is in the memory of a GPU, expected CPU");
}

// Sets all but the view; returns false for a tensor, whose array is not known yet.
bool read_ndarray(PyObject* object, const char* name, Operand& operand) {
  operand.object = object;
  if (Py_TYPE(object) == ndarray_type()) {
    operand.source = Source::array;
    operand.array = py::reinterpret_borrow<py::object>(object);
    return true;
  }
  if (PyType_IsSubtype(Py_TYPE(object), ndarray_type()) != 0) {
    refuse_masked(object, name);
    operand.source = Source::subclass;
    operand.array = py::reinterpret_borrow<py::object>(object);
    return true;
  }
  return false;
}

std::int64_t as_int(PyObject* object, const std::string& what) {
  if (PyBool_Check(object) || !PyIndex_Check(object)) {
    throw py::type_error(what + ", not " + type_name(object));
  }
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(object));
  if (!index) throw py::error_already_set();
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  return overflow == 0 ? value : (overflow < 0 ? INT64_MIN : INT64_MAX);
}

int normalized(std::int64_t axis, int ndim) {
  if (axis < -ndim || axis >= ndim) throw_axis_error(axis, ndim);
  return static_cast<int>(axis < 0 ? axis + ndim : axis);
}

int read_axis(PyObject* object, int ndim) {
  return normalized(as_int(object, "axis must be an int, a tuple of ints or None"), ndim);
}

void add_axis(int axis, Axes& axes) {
  if (axes.reduced[static_cast<std::size_t>(axis)]) {
    throw py::value_error("duplicate value in 'axis'");
  }
  axes.reduced[static_cast<std::size_t>(axis)] = true;
  axes.values[axes.count++] = axis;
}

// What numpy.dtype does not know: "bfloat16" as long as ml_dtypes is not loaded, and the dtypes of
// another library, such as torch.float32, by the last part of their names.
std::optional<DType> dtype_by_name(py::handle object) {
  const auto text = py::str(object).cast<std::string>();
  if (py::isinstance<py::str>(object) && text != "bfloat16") return {};
  const std::string_view name = std::string_view(text).substr(text.rfind('.') + 1);
  for (const DType dtype : {DType::f16, DType::bf16, DType::f32, DType::f64}) {
    constexpr std::array names{"float16", "bfloat16", "float32", "float64"};
    if (name == names[static_cast<std::size_t>(dtype)]) return dtype;
  }
  return {};
}

[[noreturn]] void refuse_dtype(py::handle object) {
  throw py::type_error("dtype must be float16, bfloat16, float32 or float64, not " +
                       py::repr(object).cast<std::string>());
}

// bfloat16 without ml_dtypes: its bits are the upper half of a float32's.
py::object widen_bfloat16(const py::object& bits) {
  const py::object widened = bits.attr("astype")("u4");
  widened.attr("__ilshift__")(16);  // in place, since `<<` makes a scalar of a 0-d array
  return widened.attr("view")("f4");
}

}  // namespace

void read_operand(PyObject* object, const char* name, Operand& operand) {
  if (!read_ndarray(object, name, operand)) {
    if (is_tensor(object)) {
      operand.source = Source::tensor;
      operand.array = read_tensor(object, name, false, operand.view);
      return;
    }
    refuse_gpu(object, name);
    operand.source = Source::converted;
    operand.array = as_array(object);
  }
  view_operand(name, operand);
}

void read_output(PyObject* object, const char* name, Operand& operand) {
  if (read_ndarray(object, name, operand)) {
    view_operand(name, operand);
  } else if (is_tensor(object)) {
    operand.source = Source::tensor;
    operand.array = read_tensor(object, name, true, operand.view);
  } else {
    refuse_gpu(object, name);
    throw py::type_error(std::string(name) +
                         " must be a numpy.ndarray or a tensor that speaks DLPack, not " +
                         type_name(object));
  }
  if (!operand.view.writeable) throw py::value_error(std::string(name) + " is read-only");
  if (may_overlap_itself(operand.view)) {
    throw py::value_error(std::string(name) + " of shape " + shape_text(operand.view.dims()) +
                          " has elements that share memory (a broadcast or overlapping view)");
  }
}

void copy_operand(const char* name, Operand& operand) {
  const DType dtype = operand.view.dtype;
  operand.array = operand.array.attr("copy")("K");
  view_operand(name, operand);
  operand.view.dtype = dtype;
}

Axes read_axes(PyObject* object, int ndim) {
  Axes axes;
  if (object == nullptr) {
    if (ndim == 0) throw_axis_error(-1, 0);
    add_axis(ndim - 1, axes);
  } else if (object == Py_None) {
    for (int axis = 0; axis < ndim; ++axis) add_axis(axis, axes);
  } else if (PyTuple_Check(object)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); ++i) {
      add_axis(read_axis(PyTuple_GET_ITEM(object, i), ndim), axes);
    }
  } else {
    add_axis(read_axis(object, ndim), axes);
  }
  return axes;
}

int read_single_axis(PyObject* object, int ndim) {
  return normalized(object == nullptr ? -1 : as_int(object, "axis must be an int"), ndim);
}

std::int64_t read_int(PyObject* object, const char* name) {
  return as_int(object, std::string(name) + " must be an int");
}

std::optional<DType> read_dtype(PyObject* object) {
  if (absent(object)) return {};
  std::optional<DType> dtype;
  try {
    const py::dtype parsed = py::dtype::from_args(py::reinterpret_borrow<py::object>(object));
    dtype = dtype_of(parsed);
    const bool native = parsed.attr("isnative").cast<bool>();
    if (!native) refuse_dtype(object);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError) && !error.matches(PyExc_SyntaxError)) throw;
    dtype = dtype_by_name(object);
  }
  if (!dtype || !is_floating(*dtype)) refuse_dtype(object);
  return dtype;
}

std::string_view read_text(PyObject* object, const char* name, std::string_view otherwise) {
  if (object == nullptr) return otherwise;
  if (!PyUnicode_Check(object)) {
    throw py::type_error(std::string(name) + " must be a string, not " + type_name(object));
  }
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(object, &size);
  if (text == nullptr) throw py::error_already_set();
  return {text, static_cast<std::size_t>(size)};
}

EmptyRow read_empty(PyObject* object) {
  const std::string_view text = read_text(object, "empty", "nan");
  if (text == "nan") return EmptyRow::nan;
  if (text == "zero") return EmptyRow::zero;
  throw py::value_error("empty must be 'nan' or 'zero', not '" + std::string(text) + "'");
}

Algorithm read_algorithm(PyObject* object) {
  if (object == nullptr) return Algorithm::automatic;
  return parse_algorithm(read_text(object, "algorithm", "auto"));
}

bool read_flag(PyObject* object) {
  if (object == nullptr) return false;
  const int truth = PyObject_IsTrue(object);
  if (truth < 0) throw py::error_already_set();
  return truth != 0;
}

bool read_real(PyObject* object, const char* name, double& number, Operand& array) {
  if (object == nullptr) return false;
  if (PyFloat_Check(object)) {
    number = PyFloat_AS_DOUBLE(object);
    return false;
  }
  if (PyLong_Check(object)) {
    number = PyLong_AsDouble(object);
    if (PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      number = HUGE_VAL;  // too large for a double: refused as infinite
    }
    return false;
  }
  if (object == Py_None) {
    throw py::type_error(std::string(name) + " must be a number or array, not None");
  }
  read_operand(object, name, array);
  if (array.view.dtype == DType::bf16 && array.source == Source::tensor) {
    array.array = widen_bfloat16(array.array);
  }
  if (array.view.dtype != DType::f64 || array.view.byteswapped) {
    array.array = array.array.attr("astype")(numpy_dtype(DType::f64));
  }
  view_operand(name, array);
  if (array.view.ndim > 0) return true;
  number = py::float_(array.array);
  return false;
}

bool read_temperature(PyObject* object, double& number, Operand& array) {
  return read_real(object, "temperature", number, array);
}

bool read_where(PyObject* object, Operand& where) {
  if (absent(object)) return false;
  read_operand(object, "where", where);
  if (where.view.dtype != DType::boolean) {
    throw py::type_error("where must hold booleans, not " + std::string(name(where.view.dtype)));
  }
  return true;
}

}  // namespace fastsoftmax::python
