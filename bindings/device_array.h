// Arrays in the memory of a GPU and streams, as fastsoftmax._cuda passes them: addresses are ints.
#pragma once

#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "array_view.h"
#include "errors.h"
#include "fastsoftmax/types.hpp"

namespace fastsoftmax::python {

// fastsoftmax._cuda.DeviceArray as far as it concerns the core.
struct DeviceArray {
  std::uintptr_t address;
  DType dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;  // bytes

  explicit DeviceArray(const py::handle& array, const char* parameter)
      : address(array.attr("address").cast<std::uintptr_t>()),
        dtype(dtype_named(array.attr("dtype").cast<std::string>(), parameter)),
        shape(array.attr("shape").cast<std::vector<std::int64_t>>()),
        strides(array.attr("strides").cast<std::vector<std::int64_t>>()) {}

  void* data() const { return reinterpret_cast<void*>(address); }  // NOLINT(*-no-int-to-ptr)
  ConstView as_input() const { return {data(), dtype, shape, strides}; }
  View as_output() const { return {data(), dtype, shape, strides}; }

 private:
  static DType dtype_named(const std::string& text, const char* parameter) {
    for (const DType dtype :
         {DType::f16, DType::bf16, DType::f32, DType::f64, DType::i8, DType::i16, DType::i32,
          DType::i64, DType::u8, DType::u16, DType::u32, DType::u64, DType::boolean}) {
      if (text == name(dtype)) return dtype;
    }
    refuse_dtype(parameter, text);
  }
};

// None: no array.
inline std::optional<DeviceArray> optional_array(const py::handle& array, const char* parameter) {
  if (array.is_none()) return std::nullopt;
  return DeviceArray(array, parameter);
}

// A number, or an array with one for each row.
struct DeviceTemperature {
  double number = 1.0;
  std::optional<DeviceArray> array;

  explicit DeviceTemperature(const py::handle& temperature) {
    if (py::isinstance<py::float_>(temperature))
      number = temperature.cast<double>();
    else
      array = DeviceArray(temperature, "temperature");
  }
  // `options` has a temperature and temperatures.
  template <class Options>
  void set(Options& options) const {
    options.temperature = number;
    if (array) options.temperatures = array->as_input();
  }
};

inline void* stream_at(std::uintptr_t stream) {
  return reinterpret_cast<void*>(stream);  // NOLINT(*-no-int-to-ptr)
}

}  // namespace fastsoftmax::python
