#include "gather.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#define FASTSOFTMAX_ISA baseline
#include "simd/half.h"

namespace fastsoftmax {
namespace {

using baseline::from_f32;
using baseline::to_f32;

template <class Raw>
Raw read(const char* p, bool swapped) {
  std::array<char, sizeof(Raw)> bytes;
  std::copy_n(p, sizeof(Raw), bytes.begin());
  if (swapped) std::reverse(bytes.begin(), bytes.end());
  Raw raw;
  std::memcpy(&raw, bytes.data(), sizeof(Raw));
  return raw;
}

template <class Raw>
void write(char* p, Raw raw, bool swapped) {
  std::array<char, sizeof(Raw)> bytes;
  std::memcpy(bytes.data(), &raw, sizeof(Raw));
  if (swapped) std::reverse(bytes.begin(), bytes.end());
  std::copy_n(bytes.begin(), sizeof(Raw), p);
}

// Rounds to odd, so that rounding again to a narrower type rounds once.
float to_odd_f32(double v) {
  float f = static_cast<float>(v);
  const double error = v - static_cast<double>(f);
  std::uint32_t bits;
  std::memcpy(&bits, &f, sizeof bits);
  if (std::isfinite(f) && error != 0.0 && (bits & 1u) == 0) {
    bits += (error > 0.0) == (v > 0.0) ? 1u : ~0u;
    std::memcpy(&f, &bits, sizeof f);
  }
  return f;
}

// Likewise from an integer, which f64 may not hold.
template <class Int>
float integer_to_odd_f32(Int v) {
  if constexpr (sizeof(Int) == 8) {
    constexpr int spare = 11;  // bits of Int beyond f64's significand
    constexpr Int mask = (Int{1} << spare) - 1;
    if (v / (Int{1} << 53) != 0) {
      const Int head = static_cast<Int>((v >> spare) | ((v & mask) != 0 ? 1 : 0));
      return to_odd_f32(static_cast<double>(head)) * static_cast<float>(1 << spare);
    }
  }
  return to_odd_f32(static_cast<double>(v));
}

// v as an element of the row's type, held in the arithmetic type.
template <DType Row, class Source>
auto as_row_element(Source v) {
  if constexpr (Row == DType::f64) {
    if constexpr (std::is_arithmetic_v<Source>)
      return static_cast<double>(v);
    else
      return static_cast<double>(to_f32(v));
  } else if constexpr (Row == DType::f32) {
    if constexpr (std::is_arithmetic_v<Source>)
      return static_cast<float>(v);
    else
      return to_f32(v);
  } else {
    using Half = std::conditional_t<Row == DType::f16, f16, bf16>;
    if constexpr (std::is_same_v<Source, Half>) {
      return to_f32(v);
    } else {
      Half half;
      if constexpr (std::is_same_v<Source, float>)
        from_f32(v, &half);
      else if constexpr (std::is_integral_v<Source>)
        from_f32(integer_to_odd_f32(v), &half);
      else if constexpr (std::is_same_v<Source, double>)
        from_f32(to_odd_f32(v), &half);
      else
        from_f32(to_f32(v), &half);
      return to_f32(half);
    }
  }
}

template <DType Row>
using Arithmetic = std::conditional_t<Row == DType::f64, double, float>;

template <DType Row, class Source>
void read_run(const char* p, std::int64_t stride, std::int64_t count, bool swapped,
              Arithmetic<Row>* to) {
  if (!swapped && stride == static_cast<std::int64_t>(sizeof(Source))) {
    for (std::int64_t i = 0; i < count; ++i) {
      Source v;
      std::memcpy(&v, p + i * static_cast<std::int64_t>(sizeof(Source)), sizeof v);
      to[i] = as_row_element<Row>(v);
    }
    return;
  }
  for (std::int64_t i = 0; i < count; ++i, p += stride)
    to[i] = as_row_element<Row>(read<Source>(p, swapped));
}

template <DType Row>
void read_any(DType dtype, const char* p, std::int64_t stride, std::int64_t count, bool swapped,
              Arithmetic<Row>* to) {
  switch (dtype) {
    case DType::f16:
      return read_run<Row, f16>(p, stride, count, swapped, to);
    case DType::bf16:
      return read_run<Row, bf16>(p, stride, count, swapped, to);
    case DType::f32:
      return read_run<Row, float>(p, stride, count, swapped, to);
    case DType::f64:
      return read_run<Row, double>(p, stride, count, swapped, to);
    case DType::i8:
      return read_run<Row, std::int8_t>(p, stride, count, swapped, to);
    case DType::i16:
      return read_run<Row, std::int16_t>(p, stride, count, swapped, to);
    case DType::i32:
      return read_run<Row, std::int32_t>(p, stride, count, swapped, to);
    case DType::i64:
      return read_run<Row, std::int64_t>(p, stride, count, swapped, to);
    case DType::u8:
    case DType::boolean:
      return read_run<Row, std::uint8_t>(p, stride, count, swapped, to);
    case DType::u16:
      return read_run<Row, std::uint16_t>(p, stride, count, swapped, to);
    case DType::u32:
      return read_run<Row, std::uint32_t>(p, stride, count, swapped, to);
    case DType::u64:
      return read_run<Row, std::uint64_t>(p, stride, count, swapped, to);
  }
}

template <DType Row>
void read_admitted(const Call& call, const char* x, std::int64_t stride, const char* where,
                   std::int64_t where_stride, std::int64_t count, Arithmetic<Row>* to) {
  read_any<Row>(call.x_dtype, x, stride, count, call.x_swapped, to);
  if (where == nullptr) return;
  constexpr auto left_out = -std::numeric_limits<Arithmetic<Row>>::infinity();
  for (std::int64_t i = 0; i < count; ++i) {
    if (where[i * where_stride] == 0) to[i] = left_out;
  }
}

void read_run(const Call& call, const char* x, std::int64_t stride, const char* where,
              std::int64_t where_stride, std::int64_t count, void* buffer, std::int64_t done) {
  float* f = static_cast<float*>(buffer) + done;
  switch (call.row_dtype) {
    case DType::f64:
      return read_admitted<DType::f64>(call, x, stride, where, where_stride, count,
                                       static_cast<double*>(buffer) + done);
    case DType::f16:
      return read_admitted<DType::f16>(call, x, stride, where, where_stride, count, f);
    case DType::bf16:
      return read_admitted<DType::bf16>(call, x, stride, where, where_stride, count, f);
    default:
      return read_admitted<DType::f32>(call, x, stride, where, where_stride, count, f);
  }
}

template <class Half>
void write_half(const float* from, char* p, std::int64_t stride, std::int64_t count, bool swapped) {
  for (std::int64_t i = 0; i < count; ++i, p += stride) {
    Half half;
    from_f32(from[i], &half);
    write(p, half, swapped);
  }
}

template <class T>
void write_same(const T* from, char* p, std::int64_t stride, std::int64_t count, bool swapped) {
  if (!swapped && stride == static_cast<std::int64_t>(sizeof(T))) {
    std::memcpy(p, from, static_cast<std::size_t>(count) * sizeof(T));
    return;
  }
  for (std::int64_t i = 0; i < count; ++i, p += stride) write(p, from[i], swapped);
}

void write_any(const void* buffer, DType dtype, char* y, std::int64_t stride, std::int64_t count,
               bool swapped) {
  const float* f = static_cast<const float*>(buffer);
  switch (dtype) {
    case DType::f64:
      return write_same(static_cast<const double*>(buffer), y, stride, count, swapped);
    case DType::f16:
      return write_half<f16>(f, y, stride, count, swapped);
    case DType::bf16:
      return write_half<bf16>(f, y, stride, count, swapped);
    default:
      return write_same(f, y, stride, count, swapped);
  }
}

void write_run(const Call& call, char* y, std::int64_t stride, std::int64_t count,
               const void* buffer, std::int64_t done) {
  const std::int64_t item = call.row_dtype == DType::f64 ? 8 : 4;
  write_any(static_cast<const char*>(buffer) + done * item, call.row_dtype, y, stride, count,
            call.y_swapped);
}

struct Offsets {
  std::int64_t x = 0;
  std::int64_t y = 0;
  std::int64_t where = 0;

  void add(const Dim& dim, std::int64_t steps) {
    x += dim.x * steps;
    y += dim.y * steps;
    where += dim.where * steps;
  }
};

// Adds the position `index` along all of `dims` in C order.
void advance(Offsets& at, std::span<const Dim> dims, std::int64_t index) {
  for (std::size_t d = dims.size(); d-- > 0;) {
    at.add(dims[d], index % dims[d].size);
    index /= dims[d].size;
  }
}

// body(offsets, last axis, elements, done) for the runs along the last reduced axis that make up
// elements [start, start + count) of a row.
template <class Body>
void for_each_run(const Call& call, std::int64_t row, std::int64_t start, std::int64_t count,
                  Body&& body) {
  Offsets base;
  advance(base, call.outer.view(), row);
  const auto dims = call.reduced.view();
  // A row of length 0 has one element too: logsumexp's result.
  if (dims.empty() || call.row_length == 0)
    return body(base, Dim{}, std::int64_t{1}, std::int64_t{0});
  const Dim& last = dims.back();
  const auto slower = dims.first(dims.size() - 1);
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t index = start + done;
    const std::int64_t within = index % last.size;
    const std::int64_t size = std::min(count - done, last.size - within);
    Offsets at = base;
    advance(at, slower, index / last.size);
    at.add(last, within);
    body(at, last, size, done);
    done += size;
  }
}

}  // namespace

void fetch_row(const void* context, std::int64_t row, std::int64_t start, int count, void* buffer) {
  const Call& call = *static_cast<const Call*>(context);
  for_each_run(call, row, start, count,
               [&](const Offsets& at, const Dim& dim, std::int64_t size, std::int64_t done) {
                 const char* where = call.where == nullptr ? nullptr : call.where + at.where;
                 read_run(call, call.x + at.x, dim.x, where, dim.where, size, buffer, done);
               });
}

void store_row(const void* context, std::int64_t row, std::int64_t start, int count,
               const void* buffer) {
  const Call& call = *static_cast<const Call*>(context);
  for_each_run(call, row, start, count,
               [&](const Offsets& at, const Dim& dim, std::int64_t size, std::int64_t done) {
                 write_run(call, call.y + at.y, dim.y, size, buffer, done);
               });
}

void store_elements(const void* buffer, DType dtype, std::int64_t count, char* to,
                    std::int64_t step) {
  write_any(buffer, dtype, to, step, count, false);
}

void fetch_columns(const void* context, std::int64_t row, std::int64_t start, int count,
                   void* buffer) {
  const auto& c = *static_cast<const ColumnsContext*>(context);
  const Dim& along = c.call->reduced.dims[0];
  const Dim& inner = c.call->inner;
  const char* where =
      c.where == nullptr ? nullptr : c.where + row * along.where + start * inner.where;
  read_run(*c.call, c.x + row * along.x + start * inner.x, inner.x, where, inner.where, count,
           buffer, 0);
}

void store_columns(const void* context, std::int64_t row, std::int64_t start, int count,
                   const void* buffer) {
  const auto& c = *static_cast<const ColumnsContext*>(context);
  const Dim& along = c.call->reduced.dims[0];
  const Dim& inner = c.call->inner;
  write_run(*c.call, c.y + row * along.y + start * inner.y, inner.y, count, buffer, 0);
}

}  // namespace fastsoftmax
