// The k most probable classes of an adaptive softmax: those of the shortlist, and of clusters that
// are probable enough.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "adaptive_softmax.h"
#include "axis_call.h"
#include "linear_selection.h"
#include "linear_sweep.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

template <class T>
class AdaptiveTopK {
 public:
  AdaptiveTopK(const AdaptiveLayer& layer, const AdaptiveClasses& classes, std::int64_t k,
               int max_threads)
      : layer_(layer),
        classes_(classes),
        k_(k),
        max_threads_(max_threads),
        best_(at(layer.x.shape[0])) {}

  void run(T* values, std::int64_t* indices) {
    take_shortlist();
    for (std::int64_t i = 0; i < classes_.clusters(); ++i) take_cluster(i);
    for (const Best& best : best_) {
      for (const Candidate& c : best) {
        *values++ = static_cast<T>(c.score);
        *indices++ = c.index;
      }
    }
  }

 private:
  using Candidate = Scored<double>;  // by its log-probability
  using Best = std::vector<Candidate>;

  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
  std::int64_t rows() const { return static_cast<std::int64_t>(best_.size()); }

  // The largest scores of a layer, in order.
  struct Found {
    std::int64_t count;  // of each row
    std::vector<T> scores;
    std::vector<std::int64_t> indices;

    Found(std::int64_t rows, std::int64_t each)
        : count(each), scores(at(rows * each)), indices(at(rows * each)) {}
  };

  void take_shortlist() {
    const std::int64_t clusters = classes_.clusters();
    std::vector<std::int64_t> entries;
    entries.reserve(at(rows() * clusters));
    for (std::int64_t i = 0; i < rows() * clusters; ++i)
      entries.push_back(classes_.shortlist() + i % clusters);
    LinearSweep<T> head(head_of(layer_), 1.0, max_threads_);
    Gathered<T> gathered(entries, clusters);
    Found found(rows(), std::min(k_, classes_.shortlist()));
    Selection<T> selection(head.scores(), found.count, found.scores.data(), found.indices.data());
    head.run(&gathered, [&](Strip<T> strip, int worker) {
      strip.classes = std::min(strip.classes, classes_.shortlist() - strip.first_class);
      if (strip.classes > 0) selection.take(strip, worker);
    });
    for (std::int64_t i = 0; i < rows() * clusters; ++i)
      of_clusters_.push_back(head.log_prob(gathered, i));
    for (std::int64_t r = 0; r < rows(); ++r) add(r, head.loss(r), found, r, 0, 0.0);
  }

  void take_cluster(std::int64_t cluster) {
    RowSet rows;
    std::vector<double> logs;
    for (std::int64_t r = 0; r < this->rows(); ++r) {
      const double log = of_clusters_[at(r * classes_.clusters() + cluster)];
      const Best& best = best_[at(r)];
      // All classes so far have lower numbers.
      if (std::ssize(best) == k_ && !precedes<double>({log, classes_.first(cluster)}, best.back()))
        continue;
      rows.push_back(r);
      logs.push_back(log);
    }
    if (rows.empty()) return;
    const ClusterRows<T> of(layer_, cluster, rows);
    LinearSweep<T> sweep(of.layer(), 1.0, max_threads_);
    const auto count = static_cast<std::int64_t>(rows.size());
    Found found(count, std::min(k_, classes_.size(cluster)));
    Selection<T> selection(sweep.scores(), found.count, found.scores.data(), found.indices.data());
    sweep.run(nullptr, [&](const Strip<T>& strip, int worker) { selection.take(strip, worker); });
    for (std::int64_t r = 0; r < count; ++r)
      add(rows[at(r)], sweep.loss(r), found, r, classes_.first(cluster), logs[at(r)]);
  }

  // Merges what was found of a row, classes from `first` on, into its best.
  void add(std::int64_t row, const kernels::RowLoss& loss, const Found& found, std::int64_t r,
           std::int64_t first, double above) {
    more_.clear();
    for (std::int64_t i = r * found.count; i < (r + 1) * found.count; ++i)
      more_.push_back({log_prob_of(loss, static_cast<double>(found.scores[at(i)])) + above,
                       first + found.indices[at(i)]});
    // Where all are the same, for a NaN or because the cluster cannot be, the first ones come
    // first.
    if (!(more_.front().score > -kLargest)) {
      for (std::size_t i = 0; i < more_.size(); ++i)
        more_[i].index = first + static_cast<std::int64_t>(i);
    }
    Best& best = best_[at(row)];
    merged_.clear();
    std::ranges::merge(best, more_, std::back_inserter(merged_), precedes<double>);
    if (std::ssize(merged_) > k_) merged_.resize(at(k_));
    best = merged_;
  }

  const AdaptiveLayer& layer_;
  const AdaptiveClasses& classes_;
  std::int64_t k_;
  int max_threads_;
  std::vector<double> of_clusters_;  // log-probabilities, clusters() of each row
  std::vector<Best> best_;           // of each row
  Best more_, merged_;
};

}  // namespace

void adaptive_topk(const AdaptiveLayer& layer, std::int64_t k, const View& values,
                   const View& indices, int max_threads) {
  const AdaptiveClasses classes(layer);
  if (k < 0) throw InvalidArgument("k must not be negative, got " + std::to_string(k));
  if (k > classes.count())
    throw InvalidArgument("k is " + std::to_string(k) + ", but there are only " +
                          std::to_string(classes.count()) + " classes");
  with_arithmetic(layer, [&]<class T>() {
    const std::array shape = {layer.x.shape[0], k};
    check_adaptive_output(values, "values", dtype_of_arithmetic<T>, shape, layer);
    check_adaptive_output(indices, "indices", DType::i64, shape, layer);
    const ConstView taken = as_input(values);
    check_apart(indices, "indices", {&taken});
    if (k == 0 || shape[0] == 0) return;
    AdaptiveTopK<T>(layer, classes, k, max_threads)
        .run(static_cast<T*>(values.data), static_cast<std::int64_t*>(indices.data));
  });
}

}  // namespace fastsoftmax
