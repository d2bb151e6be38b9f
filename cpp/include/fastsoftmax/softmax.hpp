// softmax, log_softmax and logsumexp over any axes of strided arrays.
//
//   softmax(x)_i     = e^(z_i) / sum_j e^(z_j)         z = x / temperature, rounded once to the
//   log_softmax(x)_i = z_i - log sum_j e^(z_j)         arithmetic type (f32; f64 for f64)
//   logsumexp(x)     = log sum_j e^(z_j)
//
// Error: bound 3.6 ulp for softmax and 4.4 for log_softmax in f32; measured less, f64 likewise. See
// docs/numerics.md. Special values: docs/numerics.md, the table "Special values".
//
// The result for a row depends on that row's values, dtype, mask and temperature alone: not on the
// algorithm, instruction set, thread count, batch, position, layout or alignment.
//
// Sources: Dukhan and Ablavatski, The Two-Pass Softmax Algorithm (2020); Milakov and Gimelshein,
// Online normalizer calculation for softmax (2018).
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "fastsoftmax/types.hpp"
#include "fastsoftmax/view.hpp"

namespace fastsoftmax {

struct Options {
  Algorithm algorithm = Algorithm::automatic;
  EmptyRow empty = EmptyRow::nan;
  // Positive, finite, and neither 0 nor infinite once rounded to the arithmetic type.
  double temperature = 1.0;
  // One temperature per row (f64), broadcastable against x with length 1 along the reduced axes;
  // takes the place of `temperature`.
  std::optional<ConstView> temperatures;
  // Booleans, broadcastable against x; elements where it is false are left out.
  std::optional<ConstView> where;
  // Compute as if x had been converted to this floating type first; default result_dtype(x).
  std::optional<DType> dtype;
  // Upper limit on the threads used, not negative; 0 takes num_threads().
  int max_threads = 0;
};

// `axes` are reduced together; each in [-ndim, ndim), no duplicates. Over several axes a row's
// elements are taken in C order. `out` has the shape of x and the result's dtype; it may be x
// itself (same data, shape and strides) but must not overlap it otherwise.
// Throws InvalidArgument (or a class derived from it), UnsupportedIsa, std::bad_alloc; on a throw
// `out` is untouched. Kernels and worker threads never throw.
void softmax(const ConstView& x, const View& out, std::span<const int> axes,
             const Options& options = {});
void log_softmax(const ConstView& x, const View& out, std::span<const int> axes,
                 const Options& options = {});
// `out` has the shape of x with every reduced axis of length 1.
void logsumexp(const ConstView& x, const View& out, std::span<const int> axes,
               const Options& options = {});

// One contiguous row. Throws InvalidArgument when the lengths differ or the spans overlap partly.
void softmax(std::span<const float> x, std::span<float> out);
void softmax(std::span<const double> x, std::span<double> out);
void log_softmax(std::span<const float> x, std::span<float> out);
void log_softmax(std::span<const double> x, std::span<double> out);
float logsumexp(std::span<const float> x);
double logsumexp(std::span<const double> x);

}  // namespace fastsoftmax
