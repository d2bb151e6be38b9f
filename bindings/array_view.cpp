#include "array_view.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <numeric>
#include <utility>
#include <vector>

#include "errors.h"

namespace fastsoftmax::python {

namespace {

constexpr std::size_t alignment = 64;
constexpr char foreign_order = std::endian::native == std::endian::little ? '>' : '<';

// ml_dtypes registers bfloat16 at run time; its number is remembered once seen, because asking a
// dtype for its name costs about a microsecond.
std::atomic<int> bfloat16_number{-1};

bool is_bfloat16(const py::dtype& dtype) {
  const int number = dtype.num();
  if (number == bfloat16_number.load(std::memory_order_relaxed)) return true;
  if (dtype.itemsize() != 2 || dtype.has_fields()) return false;
  if (py::str(dtype.attr("name")).cast<std::string>() != "bfloat16") return false;
  bfloat16_number.store(number, std::memory_order_relaxed);
  return true;
}

std::optional<DType> by_size(py::ssize_t size, std::array<DType, 4> types) {
  if (size < 1 || size > 8 || !std::has_single_bit(static_cast<unsigned>(size))) return {};
  return types[static_cast<std::size_t>(std::countr_zero(static_cast<unsigned>(size)))];
}

const char* storage_code(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return "f2";
    case DType::bf16:
      return "u2";
    case DType::f32:
      return "f4";
    case DType::f64:
      return "f8";
    case DType::i8:
      return "i1";
    case DType::i16:
      return "i2";
    case DType::i32:
      return "i4";
    case DType::i64:
      return "i8";
    case DType::u8:
      return "u1";
    case DType::u16:
      return "u2";
    case DType::u32:
      return "u4";
    case DType::u64:
      return "u8";
    case DType::boolean:
      return "?";
  }
  std::abort();
}

struct Extent {
  std::uintptr_t low;
  std::uintptr_t high;  // one past the last byte
};

Extent extent(const ArrayView& view) {
  std::int64_t low = 0;
  std::int64_t high = itemsize(view.dtype);
  for (std::size_t i = 0; i < view.dims().size(); ++i) {
    const std::int64_t reach = (view.shape[i] - 1) * view.strides[i];
    (reach < 0 ? low : high) += reach;
  }
  const auto base = reinterpret_cast<std::uintptr_t>(view.data);
  return {base + static_cast<std::uintptr_t>(low), base + static_cast<std::uintptr_t>(high)};
}

// Shape and strides for Python, without the dropped axes.
std::pair<std::vector<py::ssize_t>, std::vector<py::ssize_t>> kept(const ArrayView& view,
                                                                   std::span<const bool> dropped) {
  std::vector<py::ssize_t> shape;
  std::vector<py::ssize_t> strides;
  shape.reserve(view.dims().size());
  strides.reserve(view.dims().size());
  for (std::size_t i = 0; i < view.dims().size(); ++i) {
    if (!dropped.empty() && dropped[i]) continue;
    shape.push_back(static_cast<py::ssize_t>(view.shape[i]));
    strides.push_back(static_cast<py::ssize_t>(view.strides[i]));
  }
  return {std::move(shape), std::move(strides)};
}

}  // namespace

std::int64_t ArrayView::size() const {
  const auto lengths = dims();
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{1}, std::multiplies<>());
}

std::optional<DType> dtype_of(const py::dtype& dtype) {
  switch (dtype.kind()) {
    case 'f': {
      const py::ssize_t size = dtype.itemsize();
      if (size == 4) return DType::f32;
      if (size == 8) return DType::f64;
      if (size == 2) return DType::f16;
      return {};
    }
    case 'i':
      return by_size(dtype.itemsize(), {DType::i8, DType::i16, DType::i32, DType::i64});
    case 'u':
      return by_size(dtype.itemsize(), {DType::u8, DType::u16, DType::u32, DType::u64});
    case 'b':
      return DType::boolean;
    case 'V':
      if (is_bfloat16(dtype)) return DType::bf16;
      return {};
    default:
      return {};
  }
}

py::dtype storage_dtype(DType dtype) {
  // Type numbers of the common results spare them the parsing of a code.
  if (dtype == DType::f32) return py::dtype::of<float>();
  if (dtype == DType::f64) return py::dtype::of<double>();
  if (dtype == DType::i64) return py::dtype::of<std::int64_t>();
  return py::dtype(storage_code(dtype));
}

py::dtype numpy_dtype(DType dtype) {
  if (dtype != DType::bf16) return storage_dtype(dtype);
  try {
    return py::dtype::from_args(py::module_::import("ml_dtypes").attr("bfloat16"));
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_ImportError)) throw;
    throw py::type_error("bfloat16 results in NumPy arrays need the package ml_dtypes");
  }
}

void refuse_dtype(const char* name, const std::string& dtype) {
  throw py::type_error(std::string(name) + " has dtype " + dtype +
                       "; expected float16, bfloat16, float32, float64, an integer type or bool");
}

void view_array(const py::array& array, const char* name, ArrayView& view) {
  const py::dtype dtype = array.dtype();
  const std::optional<DType> type = dtype_of(dtype);
  if (!type) refuse_dtype(name, py::str(dtype).cast<std::string>());
  view.data = const_cast<void*>(array.data());
  view.dtype = *type;
  view.byteswapped = dtype.byteorder() == foreign_order;
  view.writeable = array.writeable();
  view.ndim = static_cast<int>(array.ndim());
  const auto ndim = static_cast<std::size_t>(view.ndim);
  std::copy_n(array.shape(), ndim, view.shape.data());
  std::copy_n(array.strides(), ndim, view.strides.data());
}

void set_keep_order_strides(const ArrayView& like, ArrayView& view) {
  const auto ndim = like.dims().size();
  std::array<std::size_t, max_ndim> order;
  std::iota(order.begin(), order.begin() + ndim, std::size_t{0});
  const auto step = [&](std::size_t axis) { return std::abs(like.strides[axis]); };
  bool ordered = true;
  bool defined = true;
  std::int64_t outer = INT64_MAX;
  for (std::size_t i = 0; i < ndim; ++i) {
    if (view.shape[i] <= 1) continue;
    defined = defined && step(i) != 0;
    ordered = ordered && step(i) <= outer;
    outer = step(i);
  }
  if (defined && !ordered) {
    // Axes of length 1 have arbitrary strides and no order of their own; they go outermost.
    std::stable_sort(order.begin(), order.begin() + ndim, [&](std::size_t a, std::size_t b) {
      if (view.shape[a] <= 1 || view.shape[b] <= 1) return view.shape[a] < view.shape[b];
      return step(a) > step(b);
    });
  }
  std::int64_t stride = itemsize(view.dtype);
  for (std::size_t i = ndim; i-- > 0;) {
    view.strides[order[i]] = stride;
    stride *= std::max<std::int64_t>(view.shape[order[i]], 1);
  }
}

py::array new_array(const py::dtype& dtype, ArrayView& view, std::span<const bool> dropped) {
  auto [shape, strides] = kept(view, dropped);
  py::array array(dtype, std::move(shape), std::move(strides));
  view.data = array.mutable_data();
  return array;
}

py::array new_aligned_array(const py::dtype& dtype, ArrayView& view,
                            std::span<const bool> dropped) {
  const std::int64_t bytes = view.size() * itemsize(view.dtype);
  const py::array buffer(py::dtype::of<unsigned char>(),
                         static_cast<py::ssize_t>(bytes) + py::ssize_t{alignment});
  const auto address = reinterpret_cast<std::uintptr_t>(buffer.data());
  view.data = static_cast<char*>(const_cast<void*>(buffer.data())) +
              (alignment - address % alignment) % alignment;
  auto [shape, strides] = kept(view, dropped);
  return {dtype, std::move(shape), std::move(strides), view.data, buffer};
}

bool same_elements(const ArrayView& a, const ArrayView& b) {
  if (a.data != b.data || a.dtype != b.dtype || a.byteswapped != b.byteswapped) return false;
  if (!std::ranges::equal(a.dims(), b.dims())) return false;
  for (std::size_t i = 0; i < a.dims().size(); ++i) {
    if (a.shape[i] > 1 && a.strides[i] != b.strides[i]) return false;
  }
  return true;
}

bool may_overlap(const ArrayView& a, const ArrayView& b) {
  if (a.size() == 0 || b.size() == 0) return false;
  const Extent first = extent(a);
  const Extent second = extent(b);
  return first.low < second.high && second.low < first.high;
}

bool may_overlap_itself(const ArrayView& view) {
  if (view.size() <= 1) return false;
  std::array<std::pair<std::int64_t, std::int64_t>, max_ndim> axes;  // |stride|, length
  std::size_t count = 0;
  for (std::size_t i = 0; i < view.dims().size(); ++i) {
    if (view.shape[i] > 1) axes[count++] = {std::abs(view.strides[i]), view.shape[i]};
  }
  std::sort(axes.begin(), axes.begin() + count);
  // Each axis must step over everything that the axes inside it reach.
  std::int64_t reach = itemsize(view.dtype);
  for (std::size_t i = 0; i < count; ++i) {
    const auto [stride, length] = axes[i];
    if (stride < reach) return true;
    reach += (length - 1) * stride;
  }
  return false;
}

}  // namespace fastsoftmax::python
