// Calls that reduce a single axis to outputs that are dense in C order.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "call.h"
#include "view_checks.h"

namespace fastsoftmax {

// x as a call that reduces `axis`: checks everything but the outputs, and leaves the layout rows or
// packed. `on_device` as for make_call.
Call axis_call(const ConstView& x, int axis, const Options& options, bool on_device = false);

// An axis that x has, counted from the front.
inline std::size_t axis_of(const ConstView& x, int axis) {
  return static_cast<std::size_t>(axis < 0 ? axis + static_cast<int>(x.shape.size()) : axis);
}

// Throws unless `out` is dense and has the shape of x with `length` along the axis, which x has.
void check_axis_output(const View& out, const char* what, DType dtype, const ConstView& x, int axis,
                       std::int64_t length);

// Throws where `out` may share memory with one of the others; nullptr is none.
void check_apart(const View& out, const char* what, std::initializer_list<const ConstView*> others);

}  // namespace fastsoftmax
