// Inner products of rows. Element k of a row goes to lane k mod A::join_lanes; a lane adds its
// products in order, each rounded once with the sum; lanes join by halving.
//
// Error: of n elements, at most (n / join_lanes + 5) u of the sum of |a_k b_k|, u = 2^-24 (f64:
// 2^-53).
// Special values: those of the sum; a NaN is the canonical one.
//
// As many lanes as join in a register, and not all of the contract's, because products are many and
// short: with 64 the joins would take longer than the products of 128 elements.
#pragma once

#include "kernels/block.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class T>
inline const T* row_of(const kernels::ChosenRows& rows, std::int64_t i) {
  const std::int64_t row = rows.ids == nullptr ? i : std::int64_t{rows.ids[i]} - rows.first_id;
  return reinterpret_cast<const T*>(static_cast<const char*>(rows.data) + row * rows.stride);
}

// v, any NaN as the canonical one.
template <class A>
[[gnu::always_inline]] inline typename A::reg canonical(typename A::reg v) {
  return A::select_equal(v, v, v, A::set1(static_cast<typename A::T>(__builtin_nan(""))));
}

// One row by J others, at most as many as there are elements in a register.
template <class A, int J>
[[gnu::always_inline]] inline typename A::reg products_of(const typename A::T* a,
                                                          const typename A::T* const* b,
                                                          std::int64_t length) {
  constexpr int parts = A::join_lanes / A::width;  // registers of lanes
  constexpr int wanted = 8 / J > 0 ? 8 / J : 1;    // so many chains hide the latency of fma
  constexpr int at_once = wanted < parts ? wanted : parts;
  const auto zero = A::set1(0);
  typename A::reg sum[A::width * parts];
  FASTSOFTMAX_UNROLL
  for (int i = 0; i < A::width * parts; ++i) sum[i] = zero;
  FASTSOFTMAX_UNROLL
  for (int first = 0; first < parts; first += at_once) {
    typename A::reg s[J * at_once];
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < J * at_once; ++i) s[i] = zero;
    std::int64_t k = 0;
    for (; k + A::join_lanes <= length; k += A::join_lanes) {
      FASTSOFTMAX_UNROLL
      for (int p = 0; p < at_once; ++p) {
        const std::int64_t at = k + (first + p) * A::width;
        const auto v = A::load(a + at);
        FASTSOFTMAX_UNROLL
        for (int j = 0; j < J; ++j)
          s[j * at_once + p] = A::fma(v, A::load(b[j] + at), s[j * at_once + p]);
      }
    }
    if (k < length) {
      FASTSOFTMAX_UNROLL
      for (int p = 0; p < at_once; ++p) {
        const std::int64_t begin = k + (first + p) * A::width;
        const std::int64_t at = begin < length ? begin : length;
        const int left = length - at < A::width ? static_cast<int>(length - at) : A::width;
        const auto v = A::load(a + at, left, zero);
        FASTSOFTMAX_UNROLL
        for (int j = 0; j < J; ++j)
          s[j * at_once + p] = A::fma(v, A::load(b[j] + at, left, zero), s[j * at_once + p]);
      }
    }
    FASTSOFTMAX_UNROLL
    for (int j = 0; j < J; ++j) {
      FASTSOFTMAX_UNROLL
      for (int p = 0; p < at_once; ++p) sum[j * parts + first + p] = s[j * at_once + p];
    }
  }
  return canonical<A>(A::sums(sum));
}

template <class A>
struct Products {
  using T = typename A::T;
  static constexpr int width = A::width;

  // Rows [i, i + rows) of a by `count` <= width rows of b; out_stride from one row's to the next's.
  template <int J>
  static void by(const kernels::ProductsJob& job, std::int64_t i, std::int64_t rows,
                 const T* const* b, int count, T* out, std::int64_t out_stride) {
    for (const std::int64_t last = i + rows; i < last; ++i, out += out_stride) {
      const auto v = products_of<A, J>(row_of<T>(job.a, i), b, job.length);
      if (count == width)
        A::store(out, v);
      else
        A::store(out, v, count);
    }
  }
  // Rows j to last of b, so many at a time; what is missing in a register is the last row again.
  static void run(const kernels::ProductsJob& job, std::int64_t i, std::int64_t rows,
                  std::int64_t j, std::int64_t last, T* out, std::int64_t out_stride) {
    constexpr int half = width / 2 > 0 ? width / 2 : 1;
    constexpr int quarter = width / 4 > 0 ? width / 4 : 1;
    for (; j < last; j += width, out += width) {
      const int count = last - j < width ? static_cast<int>(last - j) : width;
      const T* b[width];
      for (int t = 0; t < width; ++t) b[t] = row_of<T>(job.b, t < count ? j + t : last - 1);
      if (count == 1)
        by<1>(job, i, rows, b, count, out, out_stride);
      else if (count <= quarter)
        by<quarter>(job, i, rows, b, count, out, out_stride);
      else if (count <= half)
        by<half>(job, i, rows, b, count, out, out_stride);
      else
        by<width>(job, i, rows, b, count, out, out_stride);
    }
  }
  static void entry(const kernels::ProductsJob& job) {
    const DefaultFloatEnvironment environment;
    T* const out = static_cast<T*>(job.out);
    if (job.offsets == nullptr) return run(job, 0, job.rows, 0, job.terms, out, job.out_stride);
    for (std::int64_t i = 0; i < job.rows; ++i)
      run(job, i, 1, job.offsets[i], job.offsets[i + 1], out + job.offsets[i], 0);
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
