#include "sampled_loss.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <vector>

#include "linear_checks.h"
#include "row_source.h"
#include "score_rows.h"
#include "tasks.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

using kernels::ChosenRows;
using kernels::LossGradient;
using kernels::ProductsJob;
using kernels::RowLoss;
using kernels::WeightedRowsJob;

template <class T>
class SampledLoss {
 public:
  SampledLoss(const LinearLayer& layer, const SampledProblem& problem,
              const SampledLossOutputs& out)
      : problem_(problem),
        out_(out),
        matmul_(layer.matmul),
        x_(layer.x, "x"),
        w_(layer.w, "W"),
        kernels_(layer_kernels<T>()),
        losses_(score_kernels<T>()),
        depth_(x_.columns()),
        sampled_(std::ssize(problem.sample)),
        each_(problem.targets_per_row) {
    if (layer.bias) gather_bias(*layer.bias);
    all_x_ = x_.all(converted_x_);
    gather_sample();
    for (std::int64_t i = 0; i <= kRowsAtOnce; ++i) offsets_[at(i)] = i * each_;
    found_.resize(problem.rows.size());
    if (with_gradient()) target_derivatives_.resize(problem.targets.size());
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
    if (out_.grad_weights != nullptr || out_.grad_bias != nullptr) join_gradients();
    return std::move(found_);
  }

 private:
  static constexpr std::int64_t kRowsAtOnce = 8;
  static_assert(kRowsAtOnce <= ScoreRows<T>::kMost);
  static constexpr std::int64_t kElementsPerThread = 1 << 16;
  static constexpr std::int64_t kVectorsPerTask = 64;

  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
  bool with_gradient() const {
    return out_.grad_x.data != nullptr || out_.grad_weights != nullptr || out_.grad_bias != nullptr;
  }
  T* x_gradient() const { return static_cast<T*>(out_.grad_x.data); }
  int threads_for(std::int64_t elements) const {
    return static_cast<int>(
        std::clamp<std::int64_t>(elements / kElementsPerThread, 1, std::int64_t{problem_.threads}));
  }
  void multiply(const Matrix& a, const Matrix& b, const Matrix& product) const {
    if (product.rows == 0 || product.columns == 0) return;
    if (a.columns > 0) return matmul_.run(matmul_.context, a, b, product);
    for (std::int64_t r = 0; r < product.rows; ++r)
      std::fill_n(reinterpret_cast<T*>(static_cast<char*>(product.data) + r * product.row_stride),
                  product.columns, T(0));
  }

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
    for_tasks(tasks, threads_for(sampled_ * depth_), [this](std::int64_t task, int) {
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
    multiply(inputs, transposed(vectors()), scores(rows));
    const int threads = threads_for(rows * stride_);
    log_p_.reserve(threads * stride_);
    const std::int64_t wanted = kRowsAtOnce * each_ * depth_;
    target_rows_.reserve(w_.is_direct() ? 0 : threads * wanted);
    for_tasks(divide_up(rows, kRowsAtOnce), threads, [&](std::int64_t task, int worker) {
      const std::int64_t begin = task * kRowsAtOnce;
      const std::int64_t count = std::min(kRowsAtOnce, rows - begin);
      T* const z = scores_.get() + begin * stride_;
      score_targets(first + begin, count, x + begin * depth_, z,
                    target_rows_.get() + (w_.is_direct() ? 0 : worker * wanted));
      if (problem_.kind == SampledKind::softmax)
        take_softmax(first + begin, count, z);
      else
        take_logistic(first + begin, count, z, log_p_.get() + worker * stride_);
      if (!with_gradient()) return;
      for (std::int64_t r = 0; r < count; ++r)
        std::copy_n(z + r * stride_ + sampled_, each_,
                    target_derivatives_.data() + (first + begin + r) * each_);
    });
    if (!with_gradient()) return;
    if (x_gradient() != nullptr) add_to_x(first, rows);
    add_to_vectors(first, inputs);
  }

  // Scores of a few rows as they are wanted; those of the targets behind the sample's.
  void score_targets(std::int64_t first, std::int64_t rows, const T* x, T* z, T* buffer) const {
    const std::int32_t* const ids = problem_.targets.data() + first * each_;
    for (std::int64_t r = 0; r < rows; ++r) {
      ProductsJob job{};
      job.a = {x + r * depth_, 0, nullptr, 0};
      job.b = w_.choose(ids + r * each_, each_, 0, buffer);
      job.rows = 1;
      job.terms = each_;
      job.length = depth_;
      job.out = z + r * stride_ + sampled_;
      kernels_.products(job);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      T* const row = z + r * stride_;
      if (!corrections_.empty()) {
        for (std::int64_t s = 0; s < sampled_; ++s) row[s] += corrections_[at(s)];
      }
      for (std::int64_t t = 0; t < each_; ++t) {
        const std::int32_t id = ids[r * each_ + t];
        T& score = row[sampled_ + t];
        if (!target_bias_.empty()) score += target_bias_[at((first + r) * each_ + t)];
        if (!problem_.target_shift.empty())
          score = static_cast<T>(static_cast<double>(score) -
                                 problem_.target_shift[at((first + r) * each_ + t)]);
        if (!problem_.remove_hits) continue;
        const auto hits = std::ranges::equal_range(problem_.sample, id);
        std::fill_n(row + (hits.begin() - problem_.sample.begin()), hits.size(),
                    -std::numeric_limits<T>::infinity());
      }
    }
  }

  void take_softmax(std::int64_t first, std::int64_t rows, T* z) {
    std::array<std::int64_t, kRowsAtOnce> targets;
    targets.fill(each_ == 1 ? sampled_ : kNoTarget);
    const ScoreRows<T> scores{z, stride_, rows, sampled_ + each_, targets.data()};
    RowLoss found[kRowsAtOnce];
    scores.find(losses_, found);
    for (std::int64_t r = 0; r < rows; ++r) {
      double loss = 0.0;
      for (std::int64_t t = 0; t < each_; ++t) {
        const auto score = static_cast<double>(z[r * stride_ + sampled_ + t]);
        loss += found[r].log_sum - (score - found[r].max);
      }
      loss /= static_cast<double>(each_);
      found_[at(first + r)] = loss == loss ? loss : kNan;
    }
    if (!with_gradient()) return;
    LossGradient gradients[kRowsAtOnce];
    for (std::int64_t r = 0; r < rows; ++r)
      gradients[r] = gradient_of({1.0, 0.0, 0.0, problem_.upstream[at(first + r)]}, found[r]);
    scores.differentiate(losses_, gradients);
    if (each_ == 1) return;
    for (std::int64_t r = 0; r < rows; ++r) {
      const T part = static_cast<T>(problem_.upstream[at(first + r)] / static_cast<double>(each_));
      for (std::int64_t t = 0; t < each_; ++t) z[r * stride_ + sampled_ + t] -= part;
    }
  }

  void take_logistic(std::int64_t first, std::int64_t rows, T* z, T* log_p) {
    const auto part = 1.0 / static_cast<double>(each_);
    for (std::int64_t r = 0; r < rows; ++r, z += stride_) {
      const T upstream = with_gradient() ? static_cast<T>(problem_.upstream[at(first + r)]) : T(0);
      T* const of_targets = z + sampled_;
      double loss = 0.0;
      for (std::int64_t t = 0; t < each_; ++t) {
        T both[2] = {of_targets[t], -of_targets[t]};
        T slope[2];  // sigma(-z), sigma(z)
        kernels_.log_sigmoid(both, 2, both, slope);
        loss -= part * static_cast<double>(both[0]);
        if (each_ > 1) loss -= (1.0 - part) * static_cast<double>(both[1]);
        of_targets[t] = each_ == 1 ? -slope[0] : slope[1] - static_cast<T>(part);
        of_targets[t] *= upstream;
      }
      for (std::int64_t s = 0; s < sampled_; ++s) z[s] = -z[s];
      kernels_.log_sigmoid(z, sampled_, log_p, with_gradient() ? z : nullptr);
      loss -= sum_of(log_p, sampled_);
      found_[at(first + r)] = loss == loss ? loss : kNan;
      for (std::int64_t s = 0; with_gradient() && s < sampled_; ++s) z[s] *= upstream;
    }
  }
  // Eight sums, which are added by halving.
  static double sum_of(const T* values, std::int64_t count) {
    std::array<double, 8> sums{};
    for (std::int64_t i = 0; i < count; ++i) sums[at(i % 8)] += static_cast<double>(values[i]);
    for (std::size_t h = 4; h > 0; h /= 2)
      for (std::size_t j = 0; j < h; ++j) sums[j] += sums[j + h];
    return sums[0];
  }

  void add_to_x(std::int64_t first, std::int64_t rows) {
    T* const sums = x_sums_.reserve(rows * depth_);
    if (sampled_ == 0) std::fill_n(sums, rows * depth_, T(0));
    multiply(scores(rows), vectors(), matrix_of(sums, rows, depth_, depth_));
    target_rows_.reserve(w_.is_direct() ? 0 : kRowsAtOnce * each_ * depth_);
    for (std::int64_t r = 0; r < rows; r += kRowsAtOnce) {
      const std::int64_t count = std::min(kRowsAtOnce, rows - r);
      const std::int64_t from = (first + r) * each_;
      WeightedRowsJob job{};
      job.v = w_.choose(problem_.targets.data() + from, count * each_, 0, target_rows_.get());
      job.rows = count;
      job.offsets = offsets_.data();
      job.coefficients = target_derivatives_.data() + from;
      job.length = depth_;
      job.out = sums + r * depth_;
      job.out_stride = depth_ * static_cast<std::int64_t>(sizeof(T));
      job.add = true;
      kernels_.weighted_rows(job);
    }
    for (std::int64_t r = 0; r < rows; ++r)
      std::copy_n(sums + r * depth_, depth_, x_gradient() + problem_.rows[at(first + r)] * depth_);
  }

  void add_to_vectors(std::int64_t first, const Matrix& inputs) {
    if (out_.grad_weights != nullptr) {
      const Matrix derivatives = transposed(scores(inputs.rows));
      T* const sums = vector_sums_.reserve(sampled_ * depth_);
      if (first == 0) {
        multiply(derivatives, inputs, matrix_of(sums, sampled_, depth_, depth_));
      } else {
        T* const more = more_sums_.reserve(sampled_ * depth_);
        multiply(derivatives, inputs, matrix_of(more, sampled_, depth_, depth_));
        for (std::int64_t i = 0; i < sampled_ * depth_; ++i) sums[i] += more[i];
      }
    }
    if (out_.grad_bias == nullptr) return;
    bias_sums_.resize(at(sampled_));
    for (std::int64_t r = 0; r < inputs.rows; ++r) {
      const T* const row = scores_.get() + r * stride_;
      for (std::int64_t s = 0; s < sampled_; ++s) bias_sums_[at(s)] += static_cast<double>(row[s]);
    }
  }

  // The rows of w that took part: how often each is in the sample, and which targets it is.
  struct Parts {
    std::vector<std::int64_t> ids;
    std::vector<std::int64_t> sample;   // where each begins, and the end
    std::vector<std::int64_t> targets;  // likewise
    std::vector<std::int32_t> order;    // of the targets
  };
  Parts parts() const {
    Parts of;
    of.order.resize(problem_.targets.size());
    std::iota(of.order.begin(), of.order.end(), 0);
    const auto target = [this](std::int32_t i) { return problem_.targets[at(i)]; };
    std::ranges::stable_sort(of.order, {}, target);
    std::int64_t s = 0;
    std::int64_t t = 0;
    while (s < sampled_ || t < std::ssize(of.order)) {
      const std::int32_t none = std::numeric_limits<std::int32_t>::max();
      const std::int32_t in_sample = s < sampled_ ? problem_.sample[at(s)] : none;
      const std::int32_t in_targets = t < std::ssize(of.order) ? target(of.order[at(t)]) : none;
      const std::int32_t id = std::min(in_sample, in_targets);
      of.ids.push_back(id);
      of.sample.push_back(s);
      of.targets.push_back(t);
      while (s < sampled_ && problem_.sample[at(s)] == id) ++s;
      while (t < std::ssize(of.order) && target(of.order[at(t)]) == id) ++t;
    }
    of.sample.push_back(sampled_);
    of.targets.push_back(std::ssize(of.order));
    return of;
  }

  void join_gradients() {
    const Parts of = parts();
    std::vector<T> coefficients;
    std::vector<std::int32_t> x_rows;
    coefficients.reserve(of.order.size());
    x_rows.reserve(of.order.size());
    for (const std::int32_t i : of.order) {
      coefficients.push_back(target_derivatives_[at(i)]);
      x_rows.push_back(static_cast<std::int32_t>(problem_.rows[at(i / each_)]));
    }
    const auto count = std::ssize(of.ids);
    constexpr DType dtype = dtype_of_arithmetic<T>;
    if (out_.grad_bias != nullptr) {
      *out_.grad_bias = SparseRows(of.ids, 1, dtype);
      T* const values = static_cast<T*>(out_.grad_bias->values());
      for (std::int64_t u = 0; u < count; ++u) {
        double sum = 0.0;
        for (std::int64_t s = of.sample[at(u)]; s < of.sample[at(u + 1)]; ++s)
          sum += bias_sums_.empty() ? 0.0 : bias_sums_[at(s)];
        for (std::int64_t t = of.targets[at(u)]; t < of.targets[at(u + 1)]; ++t)
          sum += static_cast<double>(coefficients[at(t)]);
        values[u] = static_cast<T>(sum == sum ? sum : kNan);
      }
    }
    if (out_.grad_weights == nullptr) return;
    *out_.grad_weights = SparseRows(of.ids, depth_, dtype);
    T* const values = static_cast<T*>(out_.grad_weights->values());
    const bool none = problem_.rows.empty();
    for_tasks(divide_up(count, kVectorsPerTask), threads_for(count * depth_),
              [&](std::int64_t task, int) {
                const std::int64_t first = task * kVectorsPerTask;
                const std::int64_t last = std::min(first + kVectorsPerTask, count);
                for (std::int64_t u = first; u < last; ++u) {
                  T* const to = values + u * depth_;
                  std::int64_t s = of.sample[at(u)];
                  if (none || s == of.sample[at(u + 1)])
                    std::fill_n(to, depth_, T(0));
                  else
                    std::copy_n(vector_sums_.get() + s++ * depth_, depth_, to);
                  for (; !none && s < of.sample[at(u + 1)]; ++s) {
                    const T* const more = vector_sums_.get() + s * depth_;
                    for (std::int64_t k = 0; k < depth_; ++k) to[k] += more[k];
                  }
                }
                WeightedRowsJob job{};
                job.v = {all_x_.data, all_x_.stride, x_rows.data(), 0};
                job.rows = last - first;
                job.offsets = of.targets.data() + first;
                job.coefficients = coefficients.data();
                job.length = depth_;
                job.out = values + first * depth_;
                job.out_stride = depth_ * static_cast<std::int64_t>(sizeof(T));
                job.add = true;
                kernels_.weighted_rows(job);
              });
  }

  const SampledProblem& problem_;
  const SampledLossOutputs& out_;
  Matmul matmul_;
  RowSource<T> x_;
  RowSource<T> w_;
  const kernels::LayerKernels& kernels_;
  const kernels::LossKernels& losses_;
  std::int64_t depth_;
  std::int64_t sampled_;
  std::int64_t each_;  // targets of a row
  std::int64_t stride_ = 0;
  std::vector<T> sample_bias_;
  std::vector<T> target_bias_;
  std::vector<T> corrections_;  // of the sample's scores
  Buffer<T> converted_x_;
  ChosenRows all_x_{};
  Buffer<T> vectors_;  // of the sample
  std::array<std::int64_t, kRowsAtOnce + 1> offsets_{};
  // Of a chunk of rows.
  Buffer<T> inputs_;
  Buffer<T> scores_;  // and then their derivatives
  Buffer<T> log_p_;
  Buffer<T> target_rows_;
  Buffer<T> x_sums_;
  // Of all rows.
  std::vector<double> found_;
  std::vector<T> target_derivatives_;
  Buffer<T> vector_sums_;
  Buffer<T> more_sums_;
  std::vector<double> bias_sums_;
};

}  // namespace

template <class T>
std::vector<double> sampled_loss(const LinearLayer& layer, const SampledProblem& problem,
                                 const SampledLossOutputs& out) {
  return SampledLoss<T>(layer, problem, out).run();
}
template std::vector<double> sampled_loss<float>(const LinearLayer&, const SampledProblem&,
                                                 const SampledLossOutputs&);
template std::vector<double> sampled_loss<double>(const LinearLayer&, const SampledProblem&,
                                                  const SampledLossOutputs&);

}  // namespace fastsoftmax
