// Tensors of other libraries, without copies: in through their __dlpack__, out as an object whose
// __dlpack__ their from_dlpack takes. Our own, because NumPy's consumer knows no bfloat16 and
// makes unversioned capsules read-only.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <string>
#include <vector>

#include "array_view.h"

namespace fastsoftmax::python {

// Whether `object` speaks DLPack and is not a NumPy array.
bool is_tensor(py::handle object);

// A tensor's memory as a NumPy array that keeps the tensor alive; bfloat16 as uint16, with
// view.dtype saying what it is. `name` is the parameter's, for messages. Throws TypeError for
// another device, an unsupported dtype or an immutable tensor to be written, ValueError for one
// that is read-only or that its library would only lend as a copy.
py::array read_tensor(py::handle tensor, const char* name, bool writable, ArrayView& view);

// The same in the memory of a GPU, in the terms of fastsoftmax._cuda.DeviceArray. The library makes
// sure that the values are there for what is submitted to the stream, in DLPack's numbering.
struct DeviceTensor {
  py::object owner;
  std::uintptr_t address;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;  // bytes
  int device;
};
DeviceTensor read_device_tensor(py::handle tensor, const char* name, bool writable,
                                std::intptr_t stream);

// `result` as a tensor of the library that `like` comes from (an ndarray where that library has no
// from_dlpack). `dtype` is the true element type where `result` holds bfloat16 as uint16.
py::object as_tensor_like(py::handle like, const py::object& result, DType dtype);

}  // namespace fastsoftmax::python
