// One index for each row along one axis, drawn from the softmax of the row, in one read of it.
//
// The distribution is softmax(x / temperature) after these filters, in this order, each on what the
// ones before it have left and renormalized; one token always stays:
//
//   max_surprise -log2 p_i of at most max_surprise bits
//   top_n_sigma  scores of at least max - n * (standard deviation of the row's scores, without -inf
//                and masks such as -1e9: what is below -2^18 ln 2)
//   top_k        the k largest, equal ones by index
//   top_p        the fewest of the largest whose probabilities reach p, equal ones by index
//   min_p        probabilities of at least min_p times the largest
//   typical_p    the fewest whose probabilities reach p, of those closest to the typical ones: by
//                |-log p_i - entropy| ascending, equal ones by index
//
// temperature 0 is the argmax (the first of equal ones), whatever the filters are. A row that has
// no softmax, for a NaN, a +inf or because nothing is admitted, gives what softmax_topk puts first
// under the same mask.
//
// Randomness: Philox4x32-10 with the key `seed` and the counter (draw, position, row id). A row's
// sample depends on that row's values, dtype, mask, filters, seed, position and id alone: not on
// other rows, instruction set, thread count, layout or alignment. Two numbers of 53 bits decide:
// one chooses a block of the row, the other an element of it.
//
// Sources: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (2011); Fan et al. (2018),
// top-k; Holtzman et al. (2020), top-p; Nguyen et al. (2024), min-p; Meister et al. (2023), typical
// sampling; Tang et al. (2024), top-n-sigma; Basu et al. (2021), Mirostat.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "fastsoftmax/types.hpp"
#include "fastsoftmax/view.hpp"

namespace fastsoftmax {

// One value for all rows, or one for each: an array in native byte order that broadcasts against x
// with length 1 along the axis, of f64, i64 or u64 as T is.
template <class T>
struct PerRow {
  T value{};
  std::optional<ConstView> values;
};

// Where the random numbers of a row come from.
struct RandomSource {
  PerRow<std::uint64_t> seed;
  PerRow<std::uint64_t> position;                // such as the step of a decoder; below 2^32
  std::optional<PerRow<std::uint64_t>> row_ids;  // without it rows are numbered from 0 in C order
};

struct SampleOptions {
  PerRow<double> temperature{1.0, {}};  // 0, or as in Options (softmax.hpp)
  PerRow<std::int64_t> top_k{0, {}};    // 0, and what rows do not have: off
  PerRow<double> top_p{1.0, {}};        // in [0, 1]; 1: off
  PerRow<double> min_p{0.0, {}};        // in [0, 1]; 0: off
  PerRow<double> typical_p{1.0, {}};    // in [0, 1]; 1: off
  PerRow<double> top_n_sigma{0.0, {}};  // not negative; 0: off
  PerRow<double> max_surprise{std::numeric_limits<double>::infinity(), {}};  // not NaN
  std::optional<ConstView> where;                                            // as in Options
  RandomSource random;
  int max_threads = 0;  // as in Options
};

// indices: i64. logprobs, if given: of result_dtype(x.dtype), with the bits of
// log_softmax(x, temperature) at the index: of the whole row, before all filters; at temperature 0
// those of temperature 1. Both have the shape of x with length 1 along the axis, are dense in C
// order and in native byte order, and share no memory with another array of the call. `axis` is in
// [-ndim, ndim) and not of length 0.
// Throws InvalidArgument (or a class derived from it) where a shape, dtype, axis, option or overlap
// is not acceptable, UnsupportedIsa, std::bad_alloc; on a throw outputs are untouched.
void sample(const ConstView& x, int axis, const View& indices, const SampleOptions& options = {},
            const View* logprobs = nullptr);

struct GumbelTopKOptions {
  PerRow<double> temperature{1.0, {}};  // positive
  std::optional<ConstView> where;
  RandomSource random;
  int max_threads = 0;
};

// k elements of each row without replacement: the first as sample() draws it, each further one from
// what is left, renormalized. Their order and values are distributed as the k largest of
// log_softmax(x) with independent standard Gumbel noise, and are formed without noise for all
// others: arrival times T of a Poisson process, the next of which is exponential at the rate of
// what is left; values are -log T, descending.
//
// values: result_dtype(x.dtype); indices: i64, valid and distinct. Both are dense with length k
// along the axis. Scores outside the domain of the exponential (below -90852, or so far below a
// maximum outside it) are not drawn: they come last in the order of softmax_topk, -inf and what
// `where` leaves out behind them, with -inf for values. All values of a row without a softmax are
// NaN, and its indices those of softmax_topk.
// Throws as sample() does, and where k is not in [0, length].
// Sources: Yellott (1977); Kool et al., Stochastic Beams and Where to Find Them (2019).
void gumbel_topk(const ConstView& x, std::int64_t k, int axis, const View& values,
                 const View& indices, const GumbelTopKOptions& options = {});

// Mirostat 2.0: keeps the surprise of sampled tokens near `tau` bits by moving max_surprise, mu,
// after each: mu -= eta * (surprise - tau). One mu for each row, 2 tau to begin with. Not for
// several threads at a time.
class Mirostat {
 public:
  // Throws InvalidArgument unless tau and eta are positive and finite and rows is in [0, 2^40],
  // std::bad_alloc.
  Mirostat(double tau, double eta, std::int64_t rows = 1);

  // One token for each row of x, as many rows as given, under `options`, whose max_surprise is not
  // used. Throws as fastsoftmax::sample does; mu is then as before. mu of a row without a softmax
  // stays.
  void sample(const ConstView& x, int axis, const View& indices, const SampleOptions& options = {});

  std::span<const double> mu() const { return mu_; }
  double tau() const { return tau_; }
  double eta() const { return eta_; }
  void reset();

 private:
  double tau_;
  double eta_;
  std::vector<double> mu_;
};

}  // namespace fastsoftmax
