// Moves elements between strided memory of any type and the kernels' contiguous buffers.
#pragma once

#include <cstdint>

#include "call.h"

namespace fastsoftmax {

// FetchFn and StoreFn (kernels/kernel_table.h) of Layout::packed: `context` is a Call; rows count
// over call.outer in C order, elements over call.reduced. Values are converted to the result's type
// first, as astype would, then to the arithmetic type; elements that `where` leaves out become
// -inf.
void fetch_row(const void* context, std::int64_t row, std::int64_t start, int count, void* buffer);
void store_row(const void* context, std::int64_t row, std::int64_t start, int count,
               const void* buffer);

// From the arithmetic type of `dtype` to elements of it that lie `step` bytes apart.
void store_elements(const void* buffer, DType dtype, std::int64_t count, char* to,
                    std::int64_t step);

// Those of Layout::columns. A position along the reduced axis takes the place of the row, a
// position along the inner axis that of the element.
struct ColumnsContext {
  const Call* call;
  const char* x;  // of the outer position at hand
  char* y;
  const char* where;
};
void fetch_columns(const void* context, std::int64_t row, std::int64_t start, int count,
                   void* buffer);
void store_columns(const void* context, std::int64_t row, std::int64_t start, int count,
                   const void* buffer);

}  // namespace fastsoftmax
