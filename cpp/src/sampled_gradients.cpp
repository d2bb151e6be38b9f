#include "sampled_gradients.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "call_threads.h"
#include "score_rows.h"
#include "tasks.h"

namespace fastsoftmax {
namespace {

constexpr std::int64_t kVectorsPerTask = 64;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

}  // namespace

template <class T>
struct SampledGradients<T>::Parts {
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> sample;   // where each begins, and the end
  std::vector<std::int64_t> targets;  // likewise
  std::vector<std::int32_t> order;    // of the targets
  std::vector<T> derivatives;         // of the targets, in that order

  std::int64_t count() const { return std::ssize(ids); }
};

template <class T>
SampledGradients<T>::SampledGradients(const SampledProblem& problem, const Matmul& matmul,
                                      std::int64_t depth, const SampledLossOutputs& out)
    : problem_(problem),
      matmul_(matmul),
      depth_(depth),
      sampled_(std::ssize(problem.sample)),
      out_(out),
      of_targets_(problem.with_gradients ? problem.targets.size() : 0),
      bias_(out.grad_bias != nullptr ? problem.sample.size() : 0) {}

template <class T>
void SampledGradients<T>::add(const Matrix& derivatives, const Matrix& inputs) {
  if (out_.grad_weights != nullptr) {
    Buffer<T>& to = begun_ ? more_ : vectors_;
    multiply<T>(matmul_, transposed(derivatives), inputs,
                matrix_of(to.reserve(sampled_ * depth_), sampled_, depth_, depth_));
    for (std::int64_t i = 0; begun_ && i < sampled_ * depth_; ++i)
      vectors_.get()[i] += more_.get()[i];
    begun_ = true;
  }
  const char* row = static_cast<const char*>(derivatives.data);
  for (std::int64_t r = 0; r < derivatives.rows; ++r, row += derivatives.row_stride) {
    const T* const of_row = reinterpret_cast<const T*>(row);
    for (std::size_t s = 0; s < bias_.size(); ++s) bias_[s] += static_cast<double>(of_row[s]);
  }
}

template <class T>
auto SampledGradients<T>::parts() const -> Parts {
  Parts of;
  of.order.resize(problem_.targets.size());
  std::iota(of.order.begin(), of.order.end(), 0);
  const auto target = [this](std::int32_t i) { return problem_.targets[at(i)]; };
  std::ranges::stable_sort(of.order, {}, target);
  of.derivatives.reserve(of.order.size());
  for (const std::int32_t i : of.order) of.derivatives.push_back(of_targets_[at(i)]);
  const auto total = std::ssize(of.order);
  std::int64_t s = 0;
  std::int64_t t = 0;
  while (s < sampled_ || t < total) {
    const std::int32_t none = std::numeric_limits<std::int32_t>::max();
    const std::int32_t in_sample = s < sampled_ ? problem_.sample[at(s)] : none;
    const std::int32_t in_targets = t < total ? target(of.order[at(t)]) : none;
    const std::int32_t id = std::min(in_sample, in_targets);
    of.ids.push_back(id);
    of.sample.push_back(s);
    of.targets.push_back(t);
    while (s < sampled_ && problem_.sample[at(s)] == id) ++s;
    while (t < total && target(of.order[at(t)]) == id) ++t;
  }
  of.sample.push_back(sampled_);
  of.targets.push_back(total);
  return of;
}

template <class T>
void SampledGradients<T>::join(const kernels::ChosenRows& x) {
  if (out_.grad_weights == nullptr && out_.grad_bias == nullptr) return;
  const Parts of = parts();
  if (out_.grad_bias != nullptr) join_bias(of);
  if (out_.grad_weights != nullptr) join_weights(of, x);
}

template <class T>
void SampledGradients<T>::join_bias(const Parts& of) {
  *out_.grad_bias = SparseRows(of.ids, 1, dtype_of_arithmetic<T>);
  T* const values = static_cast<T*>(out_.grad_bias->values());
  for (std::int64_t u = 0; u < of.count(); ++u) {
    double sum = 0.0;
    for (std::int64_t s = of.sample[at(u)]; s < of.sample[at(u + 1)]; ++s) sum += bias_[at(s)];
    for (std::int64_t t = of.targets[at(u)]; t < of.targets[at(u + 1)]; ++t)
      sum += static_cast<double>(of.derivatives[at(t)]);
    values[u] = static_cast<T>(sum == sum ? sum : kNan);
  }
}

template <class T>
void SampledGradients<T>::join_weights(const Parts& of, const kernels::ChosenRows& x) {
  const auto& kernels = layer_kernels<T>();
  std::vector<std::int32_t> rows_of_targets;
  rows_of_targets.reserve(of.order.size());
  for (std::size_t r = 0; r < problem_.rows.size(); ++r)
    rows_of_targets.resize(at(problem_.offsets[r + 1]),
                           static_cast<std::int32_t>(problem_.rows[r]));
  std::vector<std::int32_t> x_rows;
  x_rows.reserve(of.order.size());
  for (const std::int32_t i : of.order) x_rows.push_back(rows_of_targets[at(i)]);
  *out_.grad_weights = SparseRows(of.ids, depth_, dtype_of_arithmetic<T>);
  T* const values = static_cast<T*>(out_.grad_weights->values());
  const auto sum_sample = [&](std::int64_t u, T* to) {
    std::int64_t s = of.sample[at(u)];
    const std::int64_t end = begun_ ? of.sample[at(u + 1)] : s;
    if (s == end) return void(std::fill_n(to, depth_, T(0)));
    std::copy_n(vectors_.get() + s * depth_, depth_, to);
    while (++s < end) {
      const T* const more = vectors_.get() + s * depth_;
      for (std::int64_t k = 0; k < depth_; ++k) to[k] += more[k];
    }
  };
  const std::int64_t count = of.count();
  for_tasks(divide_up(count, kVectorsPerTask), threads_for(count * depth_, problem_.threads),
            [&](std::int64_t task, int) {
              const std::int64_t first = task * kVectorsPerTask;
              const std::int64_t last = std::min(first + kVectorsPerTask, count);
              for (std::int64_t u = first; u < last; ++u) sum_sample(u, values + u * depth_);
              kernels::WeightedRowsJob job{};
              job.v = {x.data, x.stride, x_rows.data(), 0};
              job.rows = last - first;
              job.offsets = of.targets.data() + first;
              job.coefficients = of.derivatives.data();
              job.length = depth_;
              job.out = values + first * depth_;
              job.out_stride = depth_ * static_cast<std::int64_t>(sizeof(T));
              job.add = true;
              kernels.weighted_rows(job);
            });
}

template class SampledGradients<float>;
template class SampledGradients<double>;

}  // namespace fastsoftmax
