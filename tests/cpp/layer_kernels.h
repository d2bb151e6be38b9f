// Kernels of output layers by themselves, and numbers for them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "corpus.h"
#include "dispatch.h"

namespace tests {

template <class T>
constexpr std::size_t kJoined = 64 / sizeof(T);  // lanes of a product, rows of a line

template <class T>
const fastsoftmax::kernels::LayerKernels& layer_kernels() {
  const auto& table = fastsoftmax::kernels_in_use().layers();
  if constexpr (sizeof(T) == 8)
    return table.f64;
  else
    return table.f32;
}

template <class T>
T canonical(T v) {
  return std::isnan(v) ? std::numeric_limits<T>::quiet_NaN() : v;
}

template <class T>
bool same(const T* a, const T* b, std::size_t count) {
  return count == 0 || std::memcmp(a, b, count * sizeof(T)) == 0;
}

// Numbers of all magnitudes whose products and sums round, now and then an exceptional one.
template <class T>
std::vector<T> numbers(Random& random, std::size_t count, bool exceptional = false) {
  std::vector<T> values(count);
  for (T& v : values) {
    v = static_cast<T>(random.normal() * std::exp2(static_cast<double>(random.below(12)) - 6.0));
    if (!exceptional || random.below(300) != 0) continue;
    constexpr T infinity = std::numeric_limits<T>::infinity();
    const T others[] = {infinity,
                        -infinity,
                        std::numeric_limits<T>::quiet_NaN(),
                        std::numeric_limits<T>::denorm_min(),
                        std::numeric_limits<T>::max(),
                        T(-0.0)};
    v = others[random.below(6)];
  }
  return values;
}

// In the contract's order: a . b, and element k of sum_j c_j v_j, where `out` is what was there.
template <class T>
T product(const T* a, const T* b, std::size_t length) {
  T lane[kJoined<T>] = {};
  const std::size_t padded = (length + kJoined<T> - 1) / kJoined<T> * kJoined<T>;
  for (std::size_t k = 0; k < padded; ++k) {
    T& sum = lane[k % kJoined<T>];
    sum = k < length ? std::fma(a[k], b[k], sum) : std::fma(T(0), T(0), sum);
  }
  for (std::size_t h = kJoined<T> / 2; h > 0; h /= 2)
    for (std::size_t j = 0; j < h; ++j) lane[j] += lane[j + h];
  return canonical(lane[0]);
}

template <class T, class Coefficient, class Row>
T weighted(std::size_t terms, Coefficient coefficient, Row row, std::size_t k, bool add, T out) {
  std::size_t j = 0;
  do {
    T sum = 0;
    for (const std::size_t end = std::min(j + 64, terms); j < end; ++j)
      sum = std::fma(coefficient(j), row(j)[k], sum);
    out = canonical(add ? out + sum : sum);
    add = true;
  } while (j < terms);
  return out;
}

}  // namespace tests
