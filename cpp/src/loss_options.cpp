#include "loss_options.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "axis_call.h"
#include "view_checks.h"

namespace fastsoftmax {

void check_loss_options(const CrossEntropyOptions& o) {
  if (!(o.label_smoothing >= 0.0 && o.label_smoothing <= 1.0))
    throw InvalidArgument("label_smoothing must be between 0 and 1, got " +
                          number_text(o.label_smoothing));
  if (!(o.z_loss >= 0.0 && std::isfinite(o.z_loss)))
    throw InvalidArgument("z_loss must be finite and not negative, got " + number_text(o.z_loss));
  if (!(o.softcap >= 0.0 && std::isfinite(o.softcap)))
    throw InvalidArgument("softcap must be positive and finite, got " + number_text(o.softcap));
}

void check_softcap(double softcap, DType dtype) {
  using F32 = std::numeric_limits<float>;
  if (softcap == 0.0) return;
  if (dtype == DType::f64 ? std::isnormal(softcap) : softcap >= F32::min() && softcap <= F32::max())
    return;
  throw InvalidArgument("softcap must be a normal number of " + std::string(name(dtype)) +
                        ", got " + number_text(softcap));
}

void check_dtype(const ConstView& view, DType dtype, const char* what) {
  if (view.dtype != dtype || view.byteswapped)
    throw InvalidType(std::string(what) + " must be " + std::string(name(dtype)) + ", got " +
                      std::string(name(view.dtype)));
}

template <class T>
std::vector<T> elements_of(const ConstView& view, std::span<const std::int64_t> shape,
                           const char* what) {
  std::array<std::int64_t, kMaxDims> strides{};
  broadcast(view, shape, what, strides);
  check_data(view, what);
  std::int64_t count = 1;
  for (const std::int64_t n : shape) count *= n;
  std::vector<T> values(static_cast<std::size_t>(count));
  if (count == 0) return values;
  const std::int64_t last = shape.empty() ? 1 : shape.back();
  const std::int64_t step = shape.empty() ? 0 : strides[shape.size() - 1];
  T* value = values.data();
  for (std::int64_t run = 0; run < count / last; ++run) {
    const char* p = static_cast<const char*>(view.data);
    std::int64_t rest = run;
    for (std::size_t d = shape.size(); d-- > 1; rest /= shape[d - 1])
      p += rest % shape[d - 1] * strides[d - 1];
    for (std::int64_t i = 0; i < last; ++i, ++value, p += step) std::memcpy(value, p, sizeof(T));
  }
  return values;
}
template std::vector<double> elements_of(const ConstView&, std::span<const std::int64_t>,
                                         const char*);
template std::vector<std::int64_t> elements_of(const ConstView&, std::span<const std::int64_t>,
                                               const char*);

std::vector<double> doubles_of(const ConstView& view, std::span<const std::int64_t> shape,
                               const char* what) {
  check_view(view, what);
  check_dtype(view, DType::f64, what);
  check_shape(view, shape, what);
  return elements_of<double>(view, shape, what);
}

void check_shape(const ConstView& view, std::span<const std::int64_t> shape, const char* what) {
  if (!std::ranges::equal(view.shape, shape))
    throw InvalidArgument(std::string(what) + " has shape " + shape_text(view.shape) +
                          ", expected " + shape_text(shape));
}

void check_class_shape(const ConstView& targets, std::span<const std::int64_t> rows,
                       std::span<const std::int64_t> logits) {
  const bool fits = std::ranges::equal(targets.shape, rows);
  const bool nothing = fits && std::ranges::find(rows, 0) != rows.end();
  if (!fits || (is_floating(targets.dtype) && !nothing))
    throw InvalidArgument("targets of type " + std::string(name(targets.dtype)) + " have shape " +
                          shape_text(targets.shape) + ", expected integers of shape " +
                          shape_text(rows) + " or probabilities of shape " + shape_text(logits));
}

void check_upstream_shape(const CrossEntropyOptions& options, std::span<const std::int64_t> rows) {
  const bool each = options.reduction == Reduction::none && !options.grad_out->shape.empty();
  if (!std::ranges::equal(options.grad_out->shape, each ? rows : rows.first(0)))
    throw InvalidArgument("grad_out has shape " + shape_text(options.grad_out->shape) +
                          ", expected that of the loss");
}

void check_loss_outputs(const CrossEntropyOutputs& out, DType dtype, const ConstView& logits,
                        int axis, Reduction reduction) {
  if (out.logsumexp.data != nullptr)
    check_axis_output(out.logsumexp, "logsumexp", dtype, logits, axis, 1);
  if (reduction == Reduction::none)
    return check_axis_output(out.loss, "loss", dtype, logits, axis, 1);
  if (out.loss.dtype != dtype)
    throw InvalidType("loss has dtype " + std::string(name(out.loss.dtype)) + ", expected " +
                      std::string(name(dtype)));
  if (!out.loss.shape.empty() || out.loss.byteswapped)
    throw InvalidArgument("loss must have no axes with this reduction");
  if (out.loss.data == nullptr) throw InvalidArgument("loss has no data");
}

std::vector<double> class_weights_of(const CrossEntropyOptions& options, std::int64_t classes) {
  if (!options.weight) return {};
  return doubles_of(*options.weight, std::array{classes}, "weight");
}

LossWeights weights_of_target(const CrossEntropyOptions& options, double weight,
                              std::int64_t classes) {
  LossWeights weights;
  weights.target = weight * (1.0 - options.label_smoothing);
  weights.coefficients = options.label_smoothing / static_cast<double>(classes);
  weights.z = options.z_loss * weight;
  return weights;
}

std::vector<double> upstream_of(const CrossEntropyOptions& options,
                                std::span<const std::int64_t> rows, double divisor) {
  const double scale = options.reduction == Reduction::mean ? 1.0 / divisor : 1.0;
  std::vector<double> upstream = {scale};
  if (!options.grad_out) return upstream;
  check_view(*options.grad_out, "grad_out");
  check_dtype(*options.grad_out, DType::f64, "grad_out");
  check_upstream_shape(options, rows);
  upstream = elements_of<double>(*options.grad_out, options.grad_out->shape, "grad_out");
  for (double& u : upstream) u *= scale;
  return upstream;
}

void put_losses(const View& to, std::span<const double> losses, Reduction reduction,
                double divisor) {
  if (reduction == Reduction::none) return put_rows(to, 0, losses);
  const double sum = sum_in_order(losses);
  const double result = reduction == Reduction::mean ? sum / divisor : sum;
  const double of_all[] = {result == result ? result : kNan};
  put_rows(to, 0, of_all);
}

}  // namespace fastsoftmax
