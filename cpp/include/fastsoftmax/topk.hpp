// The k largest elements of each row along one axis, with their probabilities if wanted, in one
// read of the row.
//
// Order: value descending, then index ascending; -0 equals +0. NaN counts as largest, as in NumPy
// and PyTorch; elements that `where` leaves out come after all others, admitted -inf included.
// Indices are valid and distinct for every row.
//
// The result for a row depends on that row's values, dtype, mask and temperature alone: not on the
// instruction set, thread count, batch, position, layout or alignment. Exact for every k from 0 to
// the length of the row.
//
// Source: Milakov and Gimelshein, Online normalizer calculation for softmax (2018), section 4.
#pragma once

#include <cstdint>
#include <optional>

#include "fastsoftmax/types.hpp"
#include "fastsoftmax/view.hpp"

namespace fastsoftmax {

// Over what probabilities are normalized: all elements of the row, or the k that are selected.
enum class Normalize : std::uint8_t { full, topk };

struct TopKOptions {
  Normalize normalize = Normalize::full;
  bool log = false;  // logarithms of the probabilities
  EmptyRow empty = EmptyRow::nan;
  // temperature, temperatures, where and max_threads as in Options (softmax.hpp).
  double temperature = 1.0;
  std::optional<ConstView> temperatures;
  std::optional<ConstView> where;
  int max_threads = 0;
};

// Each of the outputs below is dense in C order, in native byte order, and shares no memory with
// another array of the call. Its shape is that of x with length k, or 1, along the axis.
//
// Both functions throw InvalidArgument (or a class derived from it) where a shape, dtype, axis,
// option or overlap is not acceptable or k is not in [0, length], UnsupportedIsa, std::bad_alloc;
// on a throw outputs are untouched. `axis` is in [-ndim, ndim).

// values: result_dtype(x.dtype); indices: i64. Values have the bits of softmax(x) (log:
// log_softmax(x)) at these indices; with Normalize::topk those of softmax over the k selected
// elements alone, taken in this order. logsumexp, if given, is that of the whole row: length 1
// along the axis, dtype of values.
void softmax_topk(const ConstView& x, std::int64_t k, int axis, const View& values,
                  const View& indices, const TopKOptions& options = {},
                  const View* logsumexp = nullptr);

// Selection alone. values: elements of x as they are, of its dtype; indices: i64. With `largest`
// false the smallest elements, ascending; NaN counts as largest there too and comes last.
void topk(const ConstView& x, std::int64_t k, int axis, const View& values, const View& indices,
          bool largest = true, int max_threads = 0);

}  // namespace fastsoftmax
