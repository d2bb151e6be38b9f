#include "fastsoftmax/softmax.hpp"

#include "call.h"
#include "execute.h"

namespace fastsoftmax {
namespace {

void run(Op op, const ConstView& x, const View& out, std::span<const int> axes,
         const Options& options) {
  const Call call = make_call(op, x, out, axes, options);
  if (out.data == nullptr && call.rows > 0 && (op == Op::logsumexp || call.row_length > 0))
    throw InvalidArgument("out has no data");
  execute(call, plan_for(call, options.algorithm, options.max_threads));
}

template <class T>
constexpr DType dtype_of = sizeof(T) == sizeof(float) ? DType::f32 : DType::f64;

template <class T>
void run_contiguous(Op op, std::span<const T> x, std::span<T> out) {
  const std::int64_t x_shape[] = {static_cast<std::int64_t>(x.size())};
  const std::int64_t out_shape[] = {static_cast<std::int64_t>(out.size())};
  const std::int64_t strides[] = {sizeof(T)};
  const int axes[] = {0};
  run(op, {x.data(), dtype_of<T>, x_shape, strides}, {out.data(), dtype_of<T>, out_shape, strides},
      axes, {});
}

template <class T>
T reduce_contiguous(std::span<const T> x) {
  T result;
  run_contiguous<T>(Op::logsumexp, x, std::span<T>(&result, 1));
  return result;
}

}  // namespace

void softmax(const ConstView& x, const View& out, std::span<const int> axes,
             const Options& options) {
  run(Op::softmax, x, out, axes, options);
}
void log_softmax(const ConstView& x, const View& out, std::span<const int> axes,
                 const Options& options) {
  run(Op::log_softmax, x, out, axes, options);
}
void logsumexp(const ConstView& x, const View& out, std::span<const int> axes,
               const Options& options) {
  run(Op::logsumexp, x, out, axes, options);
}

void softmax(std::span<const float> x, std::span<float> out) {
  run_contiguous(Op::softmax, x, out);
}
void softmax(std::span<const double> x, std::span<double> out) {
  run_contiguous(Op::softmax, x, out);
}
void log_softmax(std::span<const float> x, std::span<float> out) {
  run_contiguous(Op::log_softmax, x, out);
}
void log_softmax(std::span<const double> x, std::span<double> out) {
  run_contiguous(Op::log_softmax, x, out);
}
float logsumexp(std::span<const float> x) { return reduce_contiguous(x); }
double logsumexp(std::span<const double> x) { return reduce_contiguous(x); }

Plan explain(Op op, const ConstView& x, const View& out, std::span<const int> axes,
             const Options& options) {
  const Call call = make_call(op, x, out, axes, options);
  return plan_for(call, options.algorithm, options.max_threads);
}

}  // namespace fastsoftmax
