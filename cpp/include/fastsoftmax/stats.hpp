// What the softmax of each row along one axis looks like, in one read of the row: its maximum,
// logsumexp, entropy and the probabilities of its two largest elements.
//
//   entropy = logsumexp - sum of p_i z_i, in nats, formed without cancellation
//   top1    = probability of the largest element
//   margin  = top1 less the probability of the second largest element (0 where there is none)
//
// A NaN in a row makes all of them NaN; with +inf only max and logsumexp are defined, with nothing
// above -inf they are -inf; what is not defined is NaN. logsumexp and top1 have the bits of
// logsumexp() and softmax(); none of the results depends on instruction set, threads, batch or
// layout. Error of the entropy: 21 half-units in the last place at most, to first order
// (docs/numerics.md).
#pragma once

#include <optional>

#include "fastsoftmax/types.hpp"
#include "fastsoftmax/view.hpp"

namespace fastsoftmax {

// Each of the shape of x with length 1 along the axis, of result_dtype(x.dtype), dense in C order,
// sharing memory with no other array of the call.
struct SoftmaxStats {
  View max;
  View logsumexp;
  View entropy;
  View top1;
  View margin;
};

// As in Options (softmax.hpp).
struct StatsOptions {
  double temperature = 1.0;
  std::optional<ConstView> temperatures;
  std::optional<ConstView> where;
  int max_threads = 0;
};

// Throws InvalidArgument (or a class derived from it), UnsupportedIsa, std::bad_alloc; on a throw
// outputs are untouched.
void softmax_stats(const ConstView& x, int axis, const SoftmaxStats& out,
                   const StatsOptions& options = {});

}  // namespace fastsoftmax
