#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bind.h"
#include "dlpack.h"
#include "dlpack_abi.h"

namespace fastsoftmax::python {

namespace {

dlpack::DataType type_of(DType dtype) {
  const auto bits = static_cast<std::uint8_t>(8 * itemsize(dtype));
  switch (dtype) {
    case DType::bf16:
      return {dlpack::type_bfloat, bits, 1};
    case DType::f16:
    case DType::f32:
    case DType::f64:
      return {dlpack::type_float, bits, 1};
    case DType::boolean:
      return {dlpack::type_bool, bits, 1};
    case DType::u8:
    case DType::u16:
    case DType::u32:
    case DType::u64:
      return {dlpack::type_uint, bits, 1};
    default:
      return {dlpack::type_int, bits, 1};
  }
}

// A result on its way to another library. That library may hold on to the memory for as long as it
// likes; each capsule keeps the array alive by itself.
class ExportedArray {
 public:
  ExportedArray(py::array array, DType dtype) : array_(std::move(array)), dtype_(dtype) {}

  std::pair<int, int> device() const { return {dlpack::device_cpu, 0}; }

  // The array as NumPy shows it.
  py::object array() const {
    return dtype_ == DType::bf16 ? array_.attr("view")(numpy_dtype(dtype_)) : py::object(array_);
  }

  // A CPU has no streams, so that any value of `stream` is honoured by ignoring it.
  py::object capsule(const py::object& /*stream*/, std::optional<std::pair<int, int>> max_version,
                     std::optional<std::pair<int, int>> dl_device, std::optional<bool> copy) const {
    if (dl_device && *dl_device != device()) {
      PyErr_SetString(PyExc_BufferError, "fastsoftmax exports to the CPU only");
      throw py::error_already_set();
    }
    const bool copied = copy.value_or(false);
    const auto array = copied ? array_.attr("copy")().cast<py::array>() : array_;
    if (max_version && max_version->first >= 1) {
      auto versioned = holder<dlpack::ManagedTensorVersioned>(array);
      versioned->managed.version = {1, 0};
      versioned->managed.flags = copied ? dlpack::flag_copied : 0;
      return wrap(std::move(versioned));
    }
    return wrap(holder<dlpack::ManagedTensor>(array));
  }

 private:
  template <typename Managed>
  struct Holder {
    Managed managed;
    py::object owner;
    std::vector<std::int64_t> shape;
    std::vector<std::int64_t> strides;
  };

  template <typename Managed>
  std::unique_ptr<Holder<Managed>> holder(const py::array& array) const {
    auto held = std::make_unique<Holder<Managed>>();
    held->owner = array;
    held->shape.assign(array.shape(), array.shape() + array.ndim());
    for (py::ssize_t i = 0; i < array.ndim(); ++i) {
      held->strides.push_back(array.strides(i) / array.itemsize());
    }
    held->managed.tensor = {const_cast<void*>(array.data()),
                            {dlpack::device_cpu, 0},
                            static_cast<std::int32_t>(array.ndim()),
                            type_of(dtype_),
                            held->shape.data(),
                            held->strides.data(),
                            0};
    held->managed.manager_context = held.get();
    held->managed.deleter = &release<Managed>;
    return held;
  }

  // Called by the consumer from any thread. After the interpreter has ended nothing of Python's may
  // be touched; the memory then goes with the process.
  template <typename Managed>
  static void release(Managed* managed) {
    if (Py_IsInitialized() == 0) return;
    const py::gil_scoped_acquire gil;
    delete static_cast<Holder<Managed>*>(managed->manager_context);
  }

  template <typename Managed>
  static py::object wrap(std::unique_ptr<Holder<Managed>> held) {
    PyObject* capsule =
        PyCapsule_New(&held->managed, Managed::fresh_name, [](PyObject* unused_capsule) {
          // Renamed once consumed; the consumer then releases the tensor.
          if (PyCapsule_IsValid(unused_capsule, Managed::fresh_name) == 0) return;
          release(static_cast<Managed*>(PyCapsule_GetPointer(unused_capsule, Managed::fresh_name)));
        });
    if (capsule == nullptr) throw py::error_already_set();
    held.release();
    return py::reinterpret_steal<py::object>(capsule);
  }

  py::array array_;
  DType dtype_;
};

}  // namespace

py::object as_tensor_like(py::handle like, const py::object& result, DType dtype) {
  return py::module_::import("fastsoftmax._interop")
      .attr("own_kind")(like, ExportedArray(py::reinterpret_borrow<py::array>(result), dtype));
}

void register_dlpack(py::module_& module) {
  py::class_<ExportedArray>(module, "_ExportedArray",
                            "A result that the caller's library takes over through DLPack.")
      .def("array", &ExportedArray::array, "The result as a NumPy array.")
      .def("__dlpack_device__", &ExportedArray::device)
      .def("__dlpack__", &ExportedArray::capsule, py::kw_only(), py::arg("stream") = py::none(),
           py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(),
           py::arg("copy") = py::none());
}

}  // namespace fastsoftmax::python
