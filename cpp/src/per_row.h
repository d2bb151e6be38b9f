// One value for each row of a call (PerRow in sampling.hpp); rows are numbered in C order.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "axis_call.h"
#include "fastsoftmax/sampling.hpp"

namespace fastsoftmax {

template <class T>
constexpr DType dtype_of_rows = std::is_same_v<T, double>         ? DType::f64
                                : std::is_same_v<T, std::int64_t> ? DType::i64
                                                                  : DType::u64;

template <class T>
class RowValues {
 public:
  // Throws where the array has another type, does not broadcast to x or has more than one value
  // along the axis, and where valid(value) is false: then saying what a value must be.
  template <class Valid>
  RowValues(const PerRow<T>& source, const char* name, const ConstView& x, int axis,
            const char* must_be, Valid valid)
      : value_(source.value) {
    const auto check = [&](T value) {
      if (!valid(value))
        throw InvalidArgument(std::string(name) + " must be " + must_be + ", got " + text(value));
    };
    if (!source.values) {
      check(value_);
      return;
    }
    const ConstView& view = *source.values;
    if (view.dtype != dtype_of_rows<T> || view.byteswapped)
      throw InvalidType(std::string(name) + " must be " +
                        std::string(fastsoftmax::name(dtype_of_rows<T>)) +
                        " in native byte order, got " + std::string(fastsoftmax::name(view.dtype)));
    std::array<std::int64_t, kMaxDims> strides{};
    broadcast(view, x.shape, name, strides);
    check_data(view, name);
    std::array<bool, kMaxDims> reduced{};
    const auto ndim = x.shape.size();
    const std::size_t at = axis_of(x, axis);
    reduced[at] = true;
    check_per_row(view, x.shape, reduced, name);
    for_each_value<T>(view, check);
    data_ = static_cast<const char*>(view.data);
    for (std::size_t d = 0; d < ndim; ++d) {
      if (d != at && x.shape[d] != 1) dims_[count_++] = {x.shape[d], strides[d]};
    }
  }

  T operator()(std::int64_t row) const {
    if (data_ == nullptr) return value_;
    const char* p = data_;
    for (std::size_t d = count_; d-- > 0;) {
      p += row % dims_[d].size * dims_[d].stride;
      row /= dims_[d].size;
    }
    T value;
    std::memcpy(&value, p, sizeof value);
    return value;
  }

 private:
  struct Axis {
    std::int64_t size;
    std::int64_t stride;  // bytes
  };

  static std::string text(double value) { return number_text(value); }
  template <class Int>
  static std::string text(Int value) {
    return std::to_string(value);
  }

  T value_;
  const char* data_ = nullptr;
  std::size_t count_ = 0;
  std::array<Axis, kMaxDims> dims_;
};

}  // namespace fastsoftmax
