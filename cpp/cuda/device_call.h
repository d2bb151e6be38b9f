// A call of the core in the terms of the CUDA backend.
#pragma once

#include "call.h"
#include "cuda/interface.h"

namespace fastsoftmax::cuda {

// Throws InvalidType for element types that kernels would have to convert, InvalidArgument for
// elements that are not aligned, and for more than kMaxAxes axes.
RowsCall rows_call(const Call& call);

// Throws as above, for one array of a call, and for its temperatures.
void check_operand(const Call& call, const char* what);
void check_temperatures(const Call& call);
// Throws InvalidArgument for an array of elements that are not aligned or swapped, and without
// data.
void check_elements(const ConstView& view, const char* what);
// Throws for too many axes, "outer" or "reduced".
void check_axis_count(int count, const char* what);
// Makes columns of gathered rows along a strided axis, if they lie side by side along the last of
// the other axes, so that columns are in the order of rows. Where y is null only x counts.
void take_columns(RowsCall& call);

}  // namespace fastsoftmax::cuda
