// A validated call: every check of the public interface has been made, axes of length 1 are gone
// and axes that can be walked as one have become one.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "fastsoftmax/plan.hpp"
#include "fastsoftmax/softmax.hpp"

namespace fastsoftmax {

inline constexpr int kMaxDims = 64;

// One axis as all operands walk it; strides in bytes, zero where an operand is broadcast.
struct Dim {
  std::int64_t size;
  std::int64_t x;
  std::int64_t y;
  std::int64_t where;
  std::int64_t temperature;
};

struct DimList {
  int count = 0;
  std::array<Dim, kMaxDims> dims;

  std::span<const Dim> view() const { return {dims.data(), static_cast<std::size_t>(count)}; }
  void push(const Dim& dim) { dims[static_cast<std::size_t>(count++)] = dim; }
  std::int64_t size() const;  // product
};

struct Call {
  Op op;
  DType row_dtype;  // of the result; decides the arithmetic type
  DType x_dtype;
  bool x_swapped;
  bool y_swapped;
  const char* x;
  char* y;
  const char* where;         // null: everything is admitted
  const char* temperatures;  // null: `temperature` for all rows
  DType temperature_dtype;
  double temperature;
  EmptyRow empty;
  DimList reduced;  // in C order; the last varies fastest
  DimList outer;    // Layout::columns: without the inner axis
  Dim inner;        // Layout::columns: the contiguous axis
  Layout layout;
  bool aligned;  // x and y hold aligned elements of row_dtype in native order
  bool plain;    // the same, and there is no mask, and the temperature is 1
  bool direct;   // kernels may read x and write y as they lie in memory
  std::int64_t rows;
  std::int64_t row_length;
  bool in_place;

  Problem problem() const;
};

// Throws as softmax.hpp says. Without columns the layout is rows or packed. On a device nothing is
// read, and temperatures may have any type.
Call make_call(Op op, const ConstView& x, const View& out, std::span<const int> axes,
               const Options& options, bool columns = true, bool on_device = false);

// Whether a temperature is positive and finite, also once rounded to the arithmetic type.
bool is_valid_temperature(double temperature, DType row_dtype) noexcept;

}  // namespace fastsoftmax
