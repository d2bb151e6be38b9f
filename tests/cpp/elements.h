// Elements of every type as bytes. The conversions are formulas that share nothing with the
// library's.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "fastsoftmax/types.hpp"

namespace tests {

namespace fs = fastsoftmax;
using Bytes = std::vector<unsigned char>;

// A binary format of 16 bits.
struct HalfFormat {
  int digits;        // of the significand, the hidden one included
  int min_exponent;  // of the smallest normal number
};
inline constexpr HalfFormat kF16 = {11, -14};
inline constexpr HalfFormat kBf16 = {8, -126};

// To nearest, ties to even; NaN becomes the canonical one.
template <class Float>
std::uint16_t to_half(Float v, HalfFormat format) {
  const int fraction = format.digits - 1;
  const auto infinity = static_cast<std::uint16_t>(0x7fff >> fraction << fraction);
  if (std::isnan(v)) return static_cast<std::uint16_t>(infinity | 1 << (fraction - 1));
  const int sign = std::signbit(v) ? 0x8000 : 0;
  if (v == 0) return static_cast<std::uint16_t>(sign);
  if (std::isinf(v)) return static_cast<std::uint16_t>(sign | infinity);
  const int exponent = std::max(std::ilogb(v), format.min_exponent);
  // In units of the last place; a carry into the next binade comes out right by itself.
  const auto units = static_cast<int>(std::rint(std::ldexp(std::fabs(v), fraction - exponent)));
  const long bits = (static_cast<long>(exponent - format.min_exponent) << fraction) + units;
  return static_cast<std::uint16_t>(sign | (bits > infinity ? infinity : bits));
}

inline double from_half(std::uint16_t bits, HalfFormat format) {
  const int fraction = format.digits - 1;
  const int field = (bits & 0x7fff) >> fraction;
  const int units = bits & ((1 << fraction) - 1);
  double v = std::ldexp(units, format.min_exponent - fraction);
  if (field == 0x7fff >> fraction) {
    v = units == 0 ? std::numeric_limits<double>::infinity()
                   : std::numeric_limits<double>::quiet_NaN();
  } else if (field != 0) {
    v = std::ldexp((1 << fraction) + units, format.min_exponent + field - 1 - fraction);
  }
  return (bits & 0x8000) != 0 ? -v : v;
}

template <class T>
T load(const void* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// The element at p; exact.
inline long double get(fs::DType dtype, const unsigned char* p) {
  switch (dtype) {
    case fs::DType::f16:
      return from_half(load<std::uint16_t>(p), kF16);
    case fs::DType::bf16:
      return from_half(load<std::uint16_t>(p), kBf16);
    case fs::DType::f32:
      return load<float>(p);
    case fs::DType::f64:
      return load<double>(p);
    case fs::DType::i8:
      return load<std::int8_t>(p);
    case fs::DType::i16:
      return load<std::int16_t>(p);
    case fs::DType::i32:
      return load<std::int32_t>(p);
    case fs::DType::i64:
      return static_cast<long double>(load<std::int64_t>(p));
    case fs::DType::u8:
    case fs::DType::boolean:
      return load<std::uint8_t>(p);
    case fs::DType::u16:
      return load<std::uint16_t>(p);
    case fs::DType::u32:
      return load<std::uint32_t>(p);
    case fs::DType::u64:
      return static_cast<long double>(load<std::uint64_t>(p));
  }
  return 0;
}

template <class T>
void store_as(unsigned char* p, T v) {
  std::memcpy(p, &v, sizeof v);
}

// v as an element, rounded once; of an integer type that can hold it.
template <class Float>
void put(fs::DType dtype, unsigned char* p, Float v) {
  switch (dtype) {
    case fs::DType::f16:
      return store_as(p, to_half(v, kF16));
    case fs::DType::bf16:
      return store_as(p, to_half(v, kBf16));
    case fs::DType::f32:
      return store_as(p, static_cast<float>(v));
    case fs::DType::f64:
      return store_as(p, static_cast<double>(v));
    case fs::DType::i8:
      return store_as(p, static_cast<std::int8_t>(v));
    case fs::DType::i16:
      return store_as(p, static_cast<std::int16_t>(v));
    case fs::DType::i32:
      return store_as(p, static_cast<std::int32_t>(v));
    case fs::DType::i64:
      return store_as(p, static_cast<std::int64_t>(v));
    case fs::DType::u8:
    case fs::DType::boolean:
      return store_as(p, static_cast<std::uint8_t>(v));
    case fs::DType::u16:
      return store_as(p, static_cast<std::uint16_t>(v));
    case fs::DType::u32:
      return store_as(p, static_cast<std::uint32_t>(v));
    case fs::DType::u64:
      return store_as(p, static_cast<std::uint64_t>(v));
  }
}

inline double largest_finite(fs::DType dtype) {
  switch (dtype) {
    case fs::DType::f16:
      return 65504.0;
    case fs::DType::bf16:
      return 0x1.fep127;
    case fs::DType::f32:
      return static_cast<double>(std::numeric_limits<float>::max());
    default:
      return std::numeric_limits<double>::max();
  }
}

// Values as contiguous elements; what is too large for the type becomes its largest number, what
// is too small -inf.
inline Bytes encode(fs::DType dtype, std::span<const double> values) {
  const auto item = static_cast<std::size_t>(fs::itemsize(dtype));
  const double largest = largest_finite(dtype);
  Bytes bytes(values.size() * item);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool too_large = values[i] > largest && !std::isinf(values[i]);
    put(dtype, bytes.data() + i * item, too_large ? largest : values[i]);
  }
  return bytes;
}

inline std::string hex(const unsigned char* p, int bytes) {
  std::string text = "0x";
  for (int i = bytes - 1; i >= 0; --i) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(p[i]));
    text += digits;
  }
  return text;
}

// Empty where both are the same, else the first element in which they differ.
inline std::string difference(fs::DType dtype, const Bytes& expected, const Bytes& actual) {
  if (expected == actual) return "";
  if (expected.size() != actual.size()) return "different sizes";
  const auto item = static_cast<std::size_t>(fs::itemsize(dtype));
  for (std::size_t i = 0; i + item <= expected.size(); i += item) {
    const unsigned char* e = expected.data() + i;
    const unsigned char* a = actual.data() + i;
    if (std::memcmp(e, a, item) == 0) continue;
    return "element " + std::to_string(i / item) + " is " + hex(a, static_cast<int>(item)) + " (" +
           std::to_string(static_cast<double>(get(dtype, a))) + ") instead of " +
           hex(e, static_cast<int>(item)) + " (" +
           std::to_string(static_cast<double>(get(dtype, e))) + ")";
  }
  return "";
}

}  // namespace tests
