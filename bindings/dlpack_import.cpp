#include <array>
#include <string>
#include <utility>
#include <vector>

#include "dlpack.h"
#include "dlpack_abi.h"
#include "errors.h"

namespace fastsoftmax::python {

namespace {

std::optional<DType> dtype_of(const dlpack::DataType& type) {
  if (type.lanes != 1) return {};
  switch (type.code) {
    case dlpack::type_float:
      if (type.bits == 16) return DType::f16;
      if (type.bits == 32) return DType::f32;
      if (type.bits == 64) return DType::f64;
      return {};
    case dlpack::type_bfloat:
      if (type.bits == 16) return DType::bf16;
      return {};
    case dlpack::type_int:
      if (type.bits == 8) return DType::i8;
      if (type.bits == 16) return DType::i16;
      if (type.bits == 32) return DType::i32;
      if (type.bits == 64) return DType::i64;
      return {};
    case dlpack::type_uint:
      if (type.bits == 8) return DType::u8;
      if (type.bits == 16) return DType::u16;
      if (type.bits == 32) return DType::u32;
      if (type.bits == 64) return DType::u64;
      return {};
    case dlpack::type_bool:
      if (type.bits == 8) return DType::boolean;
      return {};
    default:
      return {};
  }
}

std::string dtype_name(const dlpack::DataType& type) {
  constexpr std::array names{"int", "uint", "float", "handle", "bfloat", "complex", "bool"};
  std::string name = type.code < names.size() ? names[type.code]
                                              : "DLPack type " + std::to_string(type.code) + ":";
  name += std::to_string(type.bits);
  return type.lanes == 1 ? name : name + "x" + std::to_string(type.lanes);
}

void check_device(py::handle tensor, const char* name) {
  const auto device = tensor.attr("__dlpack_device__")().cast<std::pair<int, int>>();
  if (device.first == dlpack::device_cpu || device.first == dlpack::device_cuda_host ||
      device.first == dlpack::device_rocm_host) {
    return;
  }
  const bool is_gpu =
      device.first == dlpack::device_cuda || device.first == dlpack::device_cuda_managed;
  const std::string where = py::hasattr(tensor, "device")
                                ? "on device " + py::str(tensor.attr("device")).cast<std::string>()
                            : is_gpu ? "in the memory of a GPU"
                                     : "on device type " + std::to_string(device.first);
  const std::string message = std::string(name) + " is " + where + ", expected CPU";
  if (is_gpu) throw OnGpu(name, message);
  throw py::type_error(message);
}

// Asks for a capsule in the newest form that the library can give. A library from before DLPack 1.0
// answers the request for a version with a TypeError about the keyword.
py::object request_capsule(py::handle tensor, bool writable, const py::dict& arguments = {}) {
  const py::object method = tensor.attr("__dlpack__");
  const py::tuple version = py::make_tuple(1, 0);
  try {
    if (writable)
      return method(**arguments, py::arg("max_version") = version, py::arg("copy") = false);
    return method(**arguments, py::arg("max_version") = version);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
  }
  return method(**arguments);
}

// Takes the tensor over from the capsule: from here on the returned object owns it.
template <typename Managed>
py::capsule take_over(py::handle capsule, Managed*& managed) {
  managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), Managed::fresh_name));
  if (managed == nullptr) throw py::error_already_set();
  py::capsule owner(managed, [](void* pointer) {
    auto* owned = static_cast<Managed*>(pointer);
    if (owned->deleter != nullptr) owned->deleter(owned);
  });
  PyCapsule_SetName(capsule.ptr(), Managed::used_name);
  return owner;
}

py::array wrap(const dlpack::Tensor& tensor, const py::capsule& owner, const char* name,
               ArrayView& view) {
  const std::optional<DType> dtype = dtype_of(tensor.dtype);
  if (!dtype) refuse_dtype(name, dtype_name(tensor.dtype));
  const py::ssize_t size = itemsize(*dtype);
  std::vector<py::ssize_t> shape;
  std::vector<py::ssize_t> strides;
  std::int64_t count = 1;
  for (std::int32_t i = 0; i < tensor.ndim; ++i) {
    shape.push_back(static_cast<py::ssize_t>(tensor.shape[i]));
    count *= tensor.shape[i];
    if (tensor.strides != nullptr) {
      strides.push_back(static_cast<py::ssize_t>(tensor.strides[i]) * size);
    }
  }
  if (tensor.data == nullptr && count != 0) {
    PyErr_Format(PyExc_BufferError, "%s is a tensor without memory", name);
    throw py::error_already_set();
  }
  void* data = count == 0 ? nullptr : static_cast<char*>(tensor.data) + tensor.byte_offset;
  py::array array(storage_dtype(*dtype), std::move(shape), std::move(strides), data, owner);
  view_array(array, name, view);
  view.dtype = *dtype;
  return array;
}

struct Import {
  const dlpack::Tensor* tensor;
  py::capsule owner;
};

Import import_capsule(const py::object& capsule, const char* name, bool writable) {
  if (PyCapsule_IsValid(capsule.ptr(), dlpack::ManagedTensor::fresh_name) != 0) {
    dlpack::ManagedTensor* managed = nullptr;
    py::capsule owner = take_over(capsule, managed);
    return {&managed->tensor, std::move(owner)};
  }
  dlpack::ManagedTensorVersioned* managed = nullptr;
  py::capsule owner = take_over(capsule, managed);
  if (managed->version.major != 1) {
    PyErr_Format(PyExc_BufferError, "%s is exported as DLPack %u.%u, expected 1.x", name,
                 managed->version.major, managed->version.minor);
    throw py::error_already_set();
  }
  if (writable && (managed->flags & dlpack::flag_read_only) != 0) {
    throw py::value_error(std::string(name) + " is read-only");
  }
  if (writable && (managed->flags & dlpack::flag_copied) != 0) {
    throw py::value_error(std::string(name) + " cannot be written in place: its library exports " +
                          "a copy");
  }
  return {&managed->tensor, std::move(owner)};
}

}  // namespace

bool is_tensor(py::handle object) { return py::hasattr(py::type::handle_of(object), "__dlpack__"); }

py::array read_tensor(py::handle tensor, const char* name, bool writable, ArrayView& view) {
  const py::object exportable =
      py::module_::import("fastsoftmax._interop").attr("exportable")(tensor, name, writable);
  check_device(exportable, name);
  const Import import = import_capsule(request_capsule(exportable, writable), name, writable);
  return wrap(*import.tensor, import.owner, name, view);
}

DeviceTensor read_device_tensor(py::handle tensor, const char* name, bool writable,
                                std::intptr_t stream) {
  py::dict arguments;
  arguments["stream"] = stream;
  const Import import =
      import_capsule(request_capsule(tensor, writable, arguments), name, writable);
  const dlpack::Tensor& from = *import.tensor;
  const std::optional<DType> dtype = dtype_of(from.dtype);
  if (!dtype) refuse_dtype(name, dtype_name(from.dtype));
  DeviceTensor device;
  device.owner = import.owner;
  device.address = reinterpret_cast<std::uintptr_t>(from.data) + from.byte_offset;
  device.dtype = std::string(fastsoftmax::name(*dtype));
  device.device = from.device.device_id;
  const auto ndim = static_cast<std::size_t>(from.ndim);
  device.shape.assign(from.shape, from.shape + ndim);
  device.strides.resize(ndim);
  std::int64_t step = itemsize(*dtype);
  for (std::size_t i = ndim; i-- > 0; step *= device.shape[i])
    device.strides[i] = from.strides == nullptr ? step : from.strides[i] * itemsize(*dtype);
  return device;
}

}  // namespace fastsoftmax::python
