// NumPy arrays in the core's terms, and what an output must satisfy.
#pragma once

#include <pybind11/numpy.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "fastsoftmax/types.hpp"
#include "fastsoftmax/view.hpp"

namespace fastsoftmax::python {

namespace py = pybind11;

// As many dimensions as NumPy 2 allows.
constexpr int max_ndim = 64;

// Where an array lies and how it is laid out. It owns nothing; shape and strides are kept inline,
// so that looking at an array allocates nothing. Entries from `ndim` on are not initialised.
struct ArrayView {
  void* data;
  DType dtype;
  bool byteswapped;
  bool writeable;
  int ndim;
  std::array<std::int64_t, max_ndim> shape;
  std::array<std::int64_t, max_ndim> strides;  // bytes

  std::span<const std::int64_t> dims() const { return {shape.data(), length()}; }
  std::span<const std::int64_t> steps() const { return {strides.data(), length()}; }
  ConstView as_input() const { return {data, dtype, dims(), steps(), byteswapped}; }
  View as_output() const { return {data, dtype, dims(), steps(), byteswapped}; }
  std::int64_t size() const;

 private:
  std::size_t length() const { return static_cast<std::size_t>(ndim); }
};

// The element type of a NumPy dtype, in either byte order; nullopt where the library has none.
std::optional<DType> dtype_of(const py::dtype& dtype);
// The NumPy dtype of an element type in native order. bfloat16 takes ml_dtypes; throws TypeError
// where that is not installed.
py::dtype numpy_dtype(DType dtype);
// The same, but for bfloat16 a stand-in of equal size (uint16) that needs no other package.
py::dtype storage_dtype(DType dtype);

// Throws the TypeError for a parameter of an unsupported dtype.
[[noreturn]] void refuse_dtype(const char* name, const std::string& dtype);

// Calls refuse_dtype where the library does not support the array's.
void view_array(const py::array& array, const char* name, ArrayView& view);

// Byte strides of a new array of the view's dtype and shape that keeps the order of its axes in
// memory, as NumPy's order="K" does; C order where that is not defined (broadcast axes).
void set_keep_order_strides(const ArrayView& like, ArrayView& view);

// A new uninitialised array with the view's shape and strides, minus the axes marked in `dropped`.
// NumPy allocates it, since NumPy asks for huge pages. Sets view.data.
py::array new_array(const py::dtype& dtype, ArrayView& view, std::span<const bool> dropped);
// The same with data aligned to 64 bytes, so that no consumer has to copy it to align it.
py::array new_aligned_array(const py::dtype& dtype, ArrayView& view, std::span<const bool> dropped);

// Whether two views describe the same elements in the same places.
bool same_elements(const ArrayView& a, const ArrayView& b);
// Whether the address ranges of two views meet: no false negatives, but interleaved views count.
bool may_overlap(const ArrayView& a, const ArrayView& b);
// Whether two indices may share an address: no false negatives; views made by slicing, transposing
// and reshaping a plain array never count.
bool may_overlap_itself(const ArrayView& view);

}  // namespace fastsoftmax::python
