// How rows are read and results picked where a selection cannot use memory as it lies.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "gather.h"

namespace fastsoftmax {

// The negative of each element, so that the largest is found for the smallest. A NaN comes last.
template <class T>
void negate(T* v, int count) {
  for (int i = 0; i < count; ++i)
    v[i] = std::isnan(v[i]) ? -std::numeric_limits<T>::infinity() : -v[i];
}
inline void fetch_negated(const void* context, std::int64_t row, std::int64_t start, int count,
                          void* buffer) {
  fetch_row(context, row, start, count, buffer);
  if (static_cast<const Call*>(context)->row_dtype == DType::f64)
    negate(static_cast<double*>(buffer), count);
  else
    negate(static_cast<float*>(buffer), count);
}

// Takes out of a row that the kernels write what belongs to certain indices.
struct Pick {
  const Call* call;
  const std::int64_t* indices;
  std::int64_t k;
  std::int64_t item;
  char* to;

  static void fetch(const void* context, std::int64_t row, std::int64_t start, int count,
                    void* buffer) {
    fetch_row(static_cast<const Pick*>(context)->call, row, start, count, buffer);
  }
  static void store(const void* context, std::int64_t, std::int64_t start, int count,
                    const void* buffer) {
    const auto& p = *static_cast<const Pick*>(context);
    for (std::int64_t j = 0; j < p.k; ++j) {
      const std::int64_t i = p.indices[j] - start;
      if (i >= 0 && i < count)
        std::memcpy(p.to + j * p.item, static_cast<const char*>(buffer) + i * p.item,
                    static_cast<std::size_t>(p.item));
    }
  }
};

inline void copy_element(const char* from, char* to, std::int64_t item, bool swapped) {
  if (swapped)
    std::reverse_copy(from, from + item, to);
  else
    std::copy_n(from, item, to);
}

}  // namespace fastsoftmax
