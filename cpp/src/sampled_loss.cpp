#include "sampled_loss.h"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "call_threads.h"
#include "linear_tiles.h"
#include "row_source.h"
#include "sampled_gradients.h"
#include "tasks.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

using kernels::ChosenRows;
using kernels::ProductsJob;
using kernels::WeightedRowsJob;

template <class T>
class SampledLoss {
 public:
  SampledLoss(const LinearLayer& layer, const SampledProblem& problem,
              const SampledObjective<T>& objective, const SampledLossOutputs& out)
      : problem_(problem),
        objective_(objective),
        out_(out),
        matmul_(layer.matmul),
        x_(layer.x, "x"),
        w_(layer.w, "W"),
        kernels_(layer_kernels<T>()),
        depth_(x_.columns()),
        sampled_(std::ssize(problem.sample)),
        each_(problem.targets_per_row),
        gradients_(problem, layer.matmul, depth_, out) {
    if (layer.bias) gather_bias(*layer.bias);
    all_x_ = x_.all(converted_x_);
    gather_sample();
    found_.resize(problem.rows.size());
  }

  std::vector<double> run() {
    const auto rows = std::ssize(problem_.rows);
    if (T* const grad_x = x_gradient(); grad_x != nullptr && rows < x_.rows())
      std::fill_n(grad_x, x_.rows() * depth_, T(0));
    stride_ = tile_stride<T>(sampled_ + each_);
    const std::int64_t fitting =
        problem_.tile_bytes / (stride_ * static_cast<std::int64_t>(sizeof(T)));
    const std::int64_t most = std::clamp<std::int64_t>(fitting, 1, kTileRows);
    const std::int64_t chunks = std::max<std::int64_t>(divide_up(rows, most), 1);
    const std::int64_t step = std::max<std::int64_t>(divide_up(rows, chunks), 1);
    for (std::int64_t first = 0; first < rows; first += step)
      take(first, std::min(step, rows - first));
    gradients_.join(all_x_);
    std::vector<double> losses(at(x_.rows()), 0.0);
    for (std::int64_t i = 0; i < rows; ++i) losses[at(problem_.rows[at(i)])] = found_[at(i)];
    return losses;
  }

 private:
  static constexpr std::int64_t kRowsAtOnce = SampledScores<T>::kMost;
  static constexpr std::int64_t kVectorsPerTask = 64;
  static constexpr T kNothing = -std::numeric_limits<T>::infinity();

  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
  T* x_gradient() const { return static_cast<T*>(out_.grad_x.data); }

  // Of the sample and of the targets alone.
  void gather_bias(const ConstView& bias) {
    if (bias.shape.size() != 1 || bias.shape[0] != w_.rows())
      throw InvalidArgument("bias has shape " + shape_text(bias.shape) + ", expected (" +
                            std::to_string(w_.rows()) + ",)");
    const std::array<std::int64_t, 2> shape = {bias.shape[0], 1};
    const std::array<std::int64_t, 2> strides = {bias.strides[0], itemsize(bias.dtype)};
    ConstView column = bias;
    column.shape = shape;
    column.strides = strides;
    const RowSource<T> rows(column, "bias");
    sample_bias_ = gathered(rows, problem_.sample);
    target_bias_ = gathered(rows, problem_.targets);
  }
  static std::vector<T> gathered(const RowSource<T>& column, const std::vector<std::int32_t>& ids) {
    std::vector<T> of(ids.size());
    const ChosenRows rows = column.choose(ids.data(), std::ssize(ids), 0, of.data());
    if (!column.is_direct()) return of;
    const char* const data = static_cast<const char*>(rows.data);
    for (std::size_t i = 0; i < ids.size(); ++i)
      of[i] = *reinterpret_cast<const T*>(data + ids[i] * rows.stride);
    return of;
  }

  void gather_sample() {
    vectors_.reserve(sampled_ * depth_);
    const std::int64_t tasks = divide_up(sampled_, kVectorsPerTask);
    for_tasks(tasks, threads_for(sampled_ * depth_, problem_.threads),
              [this](std::int64_t task, int) {
                const std::int64_t last = std::min((task + 1) * kVectorsPerTask, sampled_);
                for (std::int64_t s = task * kVectorsPerTask; s < last; ++s)
                  w_.copy(problem_.sample[at(s)], vectors_.get() + s * depth_);
              });
    if (sample_bias_.empty() && problem_.sample_shift.empty()) return;
    corrections_.resize(at(sampled_));
    for (std::int64_t s = 0; s < sampled_; ++s) {
      T& of = corrections_[at(s)];
      of = sample_bias_.empty() ? T(0) : sample_bias_[at(s)];
      if (!problem_.sample_shift.empty())
        of = static_cast<T>(static_cast<double>(of) - problem_.sample_shift[at(s)]);
    }
  }

  Matrix scores(std::int64_t rows) const {
    return matrix_of(scores_.get(), rows, sampled_, stride_);
  }
  Matrix vectors() const { return matrix_of(vectors_.get(), sampled_, depth_, depth_); }
  const T* x_row(std::int64_t row) const {
    return reinterpret_cast<const T*>(static_cast<const char*>(all_x_.data) +
                                      problem_.rows[at(row)] * all_x_.stride);
  }

  // Rows [first, first + rows) of those that take part.
  void take(std::int64_t first, std::int64_t rows) {
    T* const x = inputs_.reserve(rows * depth_);
    for (std::int64_t r = 0; r < rows; ++r) std::copy_n(x_row(first + r), depth_, x + r * depth_);
    scores_.reserve(rows * stride_);
    const Matrix inputs = matrix_of(x, rows, depth_, depth_);
    multiply<T>(matmul_, inputs, transposed(vectors()), scores(rows));
    const int threads = threads_for(rows * stride_, problem_.threads);
    scratch_.reserve(threads * stride_);
    const std::int64_t wanted = kRowsAtOnce * each_ * depth_;
    target_rows_.reserve(w_.is_direct() ? 0 : threads * wanted);
    for_tasks(divide_up(rows, kRowsAtOnce), threads, [&](std::int64_t task, int worker) {
      const std::int64_t begin = task * kRowsAtOnce;
      const std::int64_t count = std::min(kRowsAtOnce, rows - begin);
      T* const z = scores_.get() + begin * stride_;
      score_targets(first + begin, count, x + begin * depth_, z,
                    target_rows_.get() + (w_.is_direct() ? 0 : worker * wanted));
      const double* const upstream =
          problem_.with_gradients ? problem_.upstream.data() + first + begin : nullptr;
      const std::int64_t* const offsets = offsets_of(first + begin);
      objective_.take({first + begin, count, z, stride_, sampled_, each_, offsets, upstream,
                       found_.data() + first + begin, scratch_.get() + worker * stride_});
      if (!problem_.with_gradients) return;
      for (std::int64_t r = 0; r < count; ++r)
        std::copy_n(z + r * stride_ + sampled_, offsets[r + 1] - offsets[r],
                    gradients_.of_targets() + offsets[r]);
    });
    if (!problem_.with_gradients) return;
    if (x_gradient() != nullptr) add_to_x(first, rows);
    gradients_.add(scores(rows), inputs);
  }

  // Where the targets of rows begin, from row `first` of those that take part on.
  const std::int64_t* offsets_of(std::int64_t first) const {
    return problem_.offsets.data() + first;
  }

  // Scores of a few rows as they are wanted; those of the targets behind the sample's.
  void score_targets(std::int64_t first, std::int64_t rows, const T* x, T* z, T* buffer) const {
    const std::int64_t* const offsets = offsets_of(first);
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t count = offsets[r + 1] - offsets[r];
      ProductsJob job{};
      job.a = {x + r * depth_, 0, nullptr, 0};
      job.b = w_.choose(problem_.targets.data() + offsets[r], count, 0, buffer);
      job.rows = 1;
      job.terms = count;
      job.length = depth_;
      job.out = z + r * stride_ + sampled_;
      kernels_.products(job);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      T* const row = z + r * stride_;
      if (!corrections_.empty()) {
        for (std::int64_t s = 0; s < sampled_; ++s) row[s] += corrections_[at(s)];
      }
      T* score = row + sampled_;
      for (std::int64_t i = offsets[r]; i < offsets[r + 1]; ++i, ++score) {
        if (!target_bias_.empty()) *score += target_bias_[at(i)];
        if (!problem_.target_shift.empty())
          *score = static_cast<T>(static_cast<double>(*score) - problem_.target_shift[at(i)]);
        if (!problem_.remove_hits) continue;
        const auto hits = std::ranges::equal_range(problem_.sample, problem_.targets[at(i)]);
        std::fill_n(row + (hits.begin() - problem_.sample.begin()), hits.size(), kNothing);
      }
      std::fill(score, row + sampled_ + each_, kNothing);
    }
  }

  void add_to_x(std::int64_t first, std::int64_t rows) {
    T* const sums = x_sums_.reserve(rows * depth_);
    multiply<T>(matmul_, scores(rows), vectors(), matrix_of(sums, rows, depth_, depth_));
    target_rows_.reserve(w_.is_direct() ? 0 : kRowsAtOnce * each_ * depth_);
    for (std::int64_t r = 0; r < rows; r += kRowsAtOnce) {
      const std::int64_t count = std::min(kRowsAtOnce, rows - r);
      const std::int64_t from = offsets_of(first + r)[0];
      std::array<std::int64_t, kRowsAtOnce + 1> offsets{};
      for (std::int64_t i = 0; i <= count; ++i) offsets[at(i)] = offsets_of(first + r)[i] - from;
      WeightedRowsJob job{};
      job.v = w_.choose(problem_.targets.data() + from, offsets[at(count)], 0, target_rows_.get());
      job.rows = count;
      job.offsets = offsets.data();
      job.coefficients = gradients_.of_targets() + from;
      job.length = depth_;
      job.out = sums + r * depth_;
      job.out_stride = depth_ * static_cast<std::int64_t>(sizeof(T));
      job.add = true;
      kernels_.weighted_rows(job);
    }
    for (std::int64_t r = 0; r < rows; ++r)
      std::copy_n(sums + r * depth_, depth_, x_gradient() + problem_.rows[at(first + r)] * depth_);
  }

  const SampledProblem& problem_;
  const SampledObjective<T>& objective_;
  const SampledLossOutputs& out_;
  Matmul matmul_;
  RowSource<T> x_;
  RowSource<T> w_;
  const kernels::LayerKernels& kernels_;
  std::int64_t depth_;
  std::int64_t sampled_;
  std::int64_t each_;  // targets of a row, at most
  std::int64_t stride_ = 0;
  std::vector<T> sample_bias_;
  std::vector<T> target_bias_;
  std::vector<T> corrections_;  // of the sample's scores
  Buffer<T> converted_x_;
  ChosenRows all_x_{};
  Buffer<T> vectors_;  // of the sample
  // Of a chunk of rows.
  Buffer<T> inputs_;
  Buffer<T> scores_;  // and then their derivatives
  Buffer<T> scratch_;
  Buffer<T> target_rows_;
  Buffer<T> x_sums_;
  // Of all rows.
  std::vector<double> found_;
  SampledGradients<T> gradients_;
};

}  // namespace

template <class T>
std::vector<double> sampled_loss(const LinearLayer& layer, const SampledProblem& problem,
                                 const SampledObjective<T>& objective,
                                 const SampledLossOutputs& out) {
  return SampledLoss<T>(layer, problem, objective, out).run();
}
template std::vector<double> sampled_loss(const LinearLayer&, const SampledProblem&,
                                          const SampledObjective<float>&,
                                          const SampledLossOutputs&);
template std::vector<double> sampled_loss(const LinearLayer&, const SampledProblem&,
                                          const SampledObjective<double>&,
                                          const SampledLossOutputs&);

}  // namespace fastsoftmax
