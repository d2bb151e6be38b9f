// Squares of four by four elements, transposed in registers; what every CPU of the architecture has
// will do.
#pragma once

#include <cstdint>
#include <cstring>

namespace fastsoftmax {

// to[i * to_stride + v] = from[v * from_stride + i] for v and i below 4; strides in elements.
inline void transpose_square(const float* from, std::int64_t from_stride, float* to,
                             std::int64_t to_stride) {
  using Four [[gnu::vector_size(16)]] = float;
  const auto load = [&](std::int64_t v) {
    Four four;
    std::memcpy(&four, from + v * from_stride, sizeof four);
    return four;
  };
  const Four a = load(0);
  const Four b = load(1);
  const Four c = load(2);
  const Four d = load(3);
  const Four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Four ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Four cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const Four rows[] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                       __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                       __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                       __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
  for (std::int64_t i = 0; i < 4; ++i) std::memcpy(to + i * to_stride, &rows[i], sizeof(Four));
}

inline void transpose_square(const double* from, std::int64_t from_stride, double* to,
                             std::int64_t to_stride) {
  using Two [[gnu::vector_size(16)]] = double;
  const auto load = [&](std::int64_t v, std::int64_t i) {
    Two two;
    std::memcpy(&two, from + v * from_stride + i, sizeof two);
    return two;
  };
  for (std::int64_t v = 0; v < 4; v += 2) {
    for (std::int64_t i = 0; i < 4; i += 2) {
      const Two a = load(v, i);
      const Two b = load(v + 1, i);
      const Two first = __builtin_shufflevector(a, b, 0, 2);
      const Two second = __builtin_shufflevector(a, b, 1, 3);
      std::memcpy(to + i * to_stride + v, &first, sizeof first);
      std::memcpy(to + (i + 1) * to_stride + v, &second, sizeof second);
    }
  }
}

// Of `vectors` vectors of `length` elements; asks for the `ahead`th vector behind the one at hand,
// as the hardware does not follow lines that lie far apart.
template <class T>
void transpose(const T* from, std::int64_t from_stride, std::int64_t vectors, std::int64_t length,
               T* to, std::int64_t to_stride, std::int64_t ahead = 0) {
  std::int64_t v = 0;
  for (; v + 4 <= vectors; v += 4) {
    if (ahead > 0 && v + ahead + 4 <= vectors) {
      for (std::int64_t k = 0; k < 4; ++k) __builtin_prefetch(from + (v + ahead + k) * from_stride);
    }
    std::int64_t i = 0;
    for (; i + 4 <= length; i += 4)
      transpose_square(from + v * from_stride + i, from_stride, to + i * to_stride + v, to_stride);
    for (; i < length; ++i) {
      for (std::int64_t k = 0; k < 4; ++k)
        to[i * to_stride + v + k] = from[(v + k) * from_stride + i];
    }
  }
  for (; v < vectors; ++v) {
    for (std::int64_t i = 0; i < length; ++i) to[i * to_stride + v] = from[v * from_stride + i];
  }
}

}  // namespace fastsoftmax
