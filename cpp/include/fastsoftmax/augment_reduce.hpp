// Augment and reduce: lower bounds of log-likelihoods of categorical distributions that are sums
// over classes, so that a sample of the classes estimates them without bias, for three models.
//
// A class is the one with the largest score plus noise, y = argmax_k z_k + e_k, z = x w^T + bias:
// Gumbel noise makes it the softmax, normal noise the multinomial probit, logistic noise the
// multinomial logistic. With f the noise's density, F its distribution function, and q any density,
//
//   log p(y) = log of the integral of f(e) prod_{k != y} F(e + z_y - z_k) de
//           >= E_q[log f(e) - log q(e) + sum_{k != y} log F(e + z_y - z_k)]
//
// q has the noise's shape, a location and a scale of its own for each example. With Q_s how often
// class s is expected in the sample, the sum over k becomes that over the sample but y with weights
// 1 / Q_s. The loss is the bound's negative: its mean over samples is, with q held, at least the
// negative log-likelihood.
//
//   softmax    q is Gumbel with location log eta and scale 1, and the expectation is known:
//              loss = log eta - 1 + n / eta, n = 1 + sum_s e^(z_s - z_y) / Q_s,
//              least, and over all classes the negative log-likelihood itself, where eta = n.
//   probit,    q is normal, logistic; the expectation is the mean over `draws` random e, which are
//   logistic   reparameterized, e = location + scale * noise.
//
// A step first moves q, by a = max(min_step, (1 + v)^-decay) for an example that was visited v
// times before, and then forms the loss and its gradients with q held:
//
//   softmax    eta <- (1 - a) eta + a n: the natural gradient
//   others     the mean over draws of the gradient of log f + sum log F - log q along e (that of
//              log q with respect to its parameters has mean 0 and is left out), times the inverse
//              of q's Fisher information, each component at most one scale long, times a
//
// The first visit sets eta to n, or location and scale to maximum and curvature of what q is to
// approximate (Laplace).
//
// A target of score -inf has probability 0: the softmax's loss is inf and its gradient that of the
// sampled softmax, those of the other models are NaN; the example's state stays.
//
// Randomness: Philox4x32-10 with the key `seed` and the counter (draw, visits, example): given its
// scores, results of a row depend on its example's state, not on the rest of the batch or on
// threads.
//
// Error: given the scores, for the softmax that of cross_entropy.hpp; log F and its derivative are
// within a few ulp of themselves and added in double. Types and threads: as in linear.hpp.
//
// Sources: Ruiz, Titsias, Dieng and Blei, Augment and Reduce: Stochastic Inference for Large
// Categorical Distributions (2018); Roeder, Wu and Duvenaud, Sticking the Landing (2017), the
// gradient along e. Preconditioning and the first visit are ours, in place of small steps.
#pragma once

#include <cstdint>
#include <span>

#include "fastsoftmax/sampled_softmax.hpp"

namespace fastsoftmax {

enum class AugmentedModel : std::uint8_t { softmax, probit, logistic };

// What is kept of each example, all of the same length, apart from all other arrays. Where visits
// is 0 the others may be anything.
struct AugmentReduceState {
  std::span<double> location;      // of the softmax: log eta
  std::span<double> scale;         // of the softmax: empty
  std::span<std::int32_t> visits;  // how often it was stepped
};

struct AugmentReduceOptions {
  static constexpr int kMostDraws = 32;

  AugmentedModel model = AugmentedModel::softmax;
  double decay = 0.9;     // in [0, 1]
  double min_step = 0.0;  // in [0, 1]
  int draws = 1;          // from 1 to kMostDraws; not for the softmax
  std::uint64_t seed = 0;
  bool update = true;       // false: q is held (at a first visit: set, but not kept)
  SampledLossOptions loss;  // hits are removed in any case
};

// One step for the rows of layer.x: row i is example examples[i]. targets and examples: i64 (N,).
// Rows whose target is ignore_index have loss and gradient 0 and leave their example alone. The
// gradients are those of the loss, to be descended. The state changes when all else has succeeded;
// that of a row whose new parameters would not be finite stays.
//
// Throws InvalidArgument (or a class derived from it; InvalidIndex for a class or an example that
// there is not), also for an example in several rows and parameters that are not finite;
// UnsupportedIsa, std::bad_alloc, before anything is written, and what the product throws.
void augment_reduce_step(const LinearLayer& layer, const ConstView& targets,
                         const ClassSample& sample, const ConstView& examples,
                         const AugmentReduceState& state, const SampledLossOutputs& out,
                         const AugmentReduceOptions& options = {});

// The softmax's step where log n comes from elsewhere, such as shards of a vocabulary: it is the
// loss of sampled_softmax_loss with LogQ::negatives, not negative, and the gradients of the step
// are those of that loss with grad_out times `factor`, n / eta (1 where the loss is inf). Arrays:
// f64 (N,), `loss` and `factor` dense in C order and apart from all others; examples as above.
// Reads model, decay, min_step and update of the options. Throws likewise, also for another model.
void augment_reduce_losses(const ConstView& log_n, const ConstView& examples,
                           const AugmentReduceState& state, const View& loss, const View& factor,
                           const AugmentReduceOptions& options = {});

}  // namespace fastsoftmax
