// What is checked of a view by itself, and of two of them.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "call.h"
#include "fastsoftmax/view.hpp"

namespace fastsoftmax {

// As Python writes them.
std::string shape_text(std::span<const std::int64_t> shape);
std::string number_text(double number);

// Throws where shape and strides cannot be those of an array.
void check_view(const ConstView& view, const char* what);
// Throws where a view with elements has no data.
void check_data(const ConstView& view, const char* what);

// Byte strides of `view` broadcast to `shape`, aligned at the last axis; throws where it does not
// fit.
void broadcast(const ConstView& view, std::span<const std::int64_t> shape, const char* what,
               std::array<std::int64_t, kMaxDims>& strides);
// Throws where a view that broadcasts to x has more than one value along a reduced axis.
void check_per_row(const ConstView& view, std::span<const std::int64_t> shape,
                   std::span<const bool> reduced, const char* what);

ConstView as_input(const View& view);

// Whether the address ranges of two views meet: no false negatives.
bool may_share_memory(const ConstView& a, const ConstView& b);
// No false positives in what slicing, transposing and reshaping make of a plain array.
bool overlaps_itself(const View& view);

// body(value) for the elements of a view of type T in native byte order; axes that repeat one are
// walked once.
template <class T, class Body>
void for_each_value(const ConstView& view, Body body) {
  std::int64_t total = 1;
  for (std::size_t d = 0; d < view.shape.size(); ++d)
    total *= view.strides[d] == 0 ? std::min<std::int64_t>(view.shape[d], 1) : view.shape[d];
  for (std::int64_t i = 0; i < total; ++i) {
    const char* p = static_cast<const char*>(view.data);
    std::int64_t rest = i;
    for (std::size_t d = view.shape.size(); d-- > 0;) {
      if (view.strides[d] == 0) continue;
      p += rest % view.shape[d] * view.strides[d];
      rest /= view.shape[d];
    }
    T value;
    std::copy_n(p, sizeof value, reinterpret_cast<char*>(&value));
    body(value);
  }
}

}  // namespace fastsoftmax
