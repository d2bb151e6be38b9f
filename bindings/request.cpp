#include "request.h"

#include <algorithm>
#include <string>

#include "dlpack.h"
#include "errors.h"

namespace fastsoftmax::python {

py::object hand_back(const Operand& x, const py::object& result, DType dtype, bool scalar) {
  if (x.source == Source::tensor) return as_tensor_like(x.object, result, dtype);
  if (x.source == Source::subclass && py::hasattr(x.object, "__array_wrap__")) {
    return x.object.attr("__array_wrap__")(result);
  }
  return scalar ? py::object(result[py::tuple()]) : result;
}

py::array new_result(const Operand& x, ArrayView& result, std::span<const bool> dropped) {
  if (x.source == Source::tensor) {
    return new_aligned_array(storage_dtype(result.dtype), result, dropped);
  }
  const bool same_type = result.dtype == x.view.dtype && !x.view.byteswapped;
  const py::dtype dtype =
      same_type ? py::reinterpret_borrow<py::array>(x.array).dtype() : numpy_dtype(result.dtype);
  return new_array(dtype, result, dropped);
}

py::object new_dense_result(const Operand& x, std::initializer_list<std::int64_t> shape,
                            DType dtype, ArrayView& result) {
  result.dtype = dtype;
  result.byteswapped = false;
  result.writeable = true;
  result.ndim = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), result.shape.begin());
  std::int64_t step = itemsize(dtype);
  for (std::size_t d = shape.size(); d-- > 0; step *= result.shape[d]) result.strides[d] = step;
  return new_result(x, result);
}

py::object hand_back_output(const Operand& output) {
  if (output.source == Source::tensor) {
    py::module_::import("fastsoftmax._interop").attr("written")(output.object);
  }
  return py::reinterpret_borrow<py::object>(output.object);
}

Request::Request(Op op, const RawArguments& arguments, bool out_may_keep_dims)
    : op_(op), keepdims_(read_flag(arguments.keepdims)) {
  read_operand(arguments.x, arguments.name, x_);
  axes_ = read_axes(arguments.axis, x_.view.ndim);
  read_options(arguments);
  lay_out_result();
  if (arguments.out != nullptr && arguments.out != Py_None) {
    take_output(arguments.out, out_may_keep_dims);
    separate_inputs();
  }
  if (has_temperatures_) options_.temperatures = temperatures_.view.as_input();
  if (has_where_) options_.where = where_.view.as_input();
}

void Request::read_options(const RawArguments& arguments) {
  options_.dtype = read_dtype(arguments.dtype);
  has_temperatures_ = read_temperature(arguments.temperature, options_.temperature, temperatures_);
  has_where_ = read_where(arguments.where, where_);
  options_.empty = read_empty(arguments.empty);
  options_.algorithm = read_algorithm(arguments.algorithm);
}

void Request::lay_out_result() {
  result_.data = nullptr;
  result_.dtype = options_.dtype.value_or(result_dtype(x_.view.dtype));
  result_.byteswapped = false;
  result_.writeable = true;
  result_.ndim = x_.view.ndim;
  for (std::size_t i = 0; i < x_.view.dims().size(); ++i) {
    result_.shape[i] = op_ == Op::logsumexp && axes_.reduced[i] ? 1 : x_.view.shape[i];
  }
  set_keep_order_strides(x_.view, result_);
}

void Request::take_output(PyObject* out, bool may_keep_dims) {
  read_output(out, "out", output_);
  has_output_ = true;
  const ArrayView& view = output_.view;
  if (view.dtype != result_.dtype) {
    throw py::type_error("out must have dtype " + std::string(name(result_.dtype)) + ", not " +
                         std::string(name(view.dtype)));
  }
  const bool drops =
      op_ == Op::logsumexp && !keepdims_ && !(may_keep_dims && view.ndim == result_.ndim);
  std::array<std::int64_t, max_ndim> shape;  // of the result as the caller sees it
  std::size_t ndim = 0;
  for (std::size_t i = 0; i < result_.dims().size(); ++i) {
    if (!drops || !axes_.reduced[i]) shape[ndim++] = result_.shape[i];
  }
  const std::span<const std::int64_t> expected(shape.data(), ndim);
  if (!std::ranges::equal(expected, view.dims())) {
    throw py::value_error("out must have shape " + shape_text(expected) + ", not " +
                          shape_text(view.dims()));
  }
  for (std::size_t i = 0, kept = 0; i < result_.dims().size(); ++i) {
    const bool dropped = drops && axes_.reduced[i];
    result_.strides[i] = dropped ? itemsize(result_.dtype) : view.strides[kept++];
  }
  result_.data = view.data;
  result_.byteswapped = view.byteswapped;
}

void Request::separate_inputs() {
  const bool in_place = op_ != Op::logsumexp && same_elements(x_.view, result_);
  if (in_place) {
    // The same but for axes of length 1, whose strides mean nothing to anyone else.
    result_.strides = x_.view.strides;
  } else if (may_overlap(x_.view, result_)) {
    copy_operand("x", x_);
  }
  if (has_where_ && may_overlap(where_.view, result_)) copy_operand("where", where_);
  if (has_temperatures_ && may_overlap(temperatures_.view, result_)) {
    copy_operand("temperature", temperatures_);
  }
}

void Request::run() const {
  switch (op_) {
    case Op::softmax:
      return softmax(x(), result(), axes(), options_);
    case Op::log_softmax:
      return log_softmax(x(), result(), axes(), options_);
    case Op::logsumexp:
      return logsumexp(x(), result(), axes(), options_);
  }
}

py::object Request::allocate() {
  if (has_output_) return {};
  const bool drops = op_ == Op::logsumexp && !keepdims_;
  return new_result(x_, result_,
                    drops ? std::span<const bool>(axes_.reduced) : std::span<const bool>());
}

py::object Request::give(const py::object& result) const {
  if (has_output_) return hand_back_output(output_);
  const bool scalar =
      op_ == Op::logsumexp && !keepdims_ && axes_.count == static_cast<std::size_t>(result_.ndim);
  return hand_back(x_, result, result_.dtype, scalar);
}

}  // namespace fastsoftmax::python
