// All leaves of a tree that is not binary.
#include <algorithm>
#include <vector>

#include "node_softmax.h"
#include "tree_leaves.h"

namespace fastsoftmax {
namespace {

template <class T>
class SoftmaxLeaves {
 public:
  using Id = Tree::Id;

  SoftmaxLeaves(const TreeSources<T>& sources, T* out)
      : sources_(sources), tree_(sources.tree()), softmax_(sources), out_(out) {
    std::int64_t most = 1;  // children
    std::int64_t buffered = 0;
    for (const Id node : tree_.preorder()) {
      most = std::max(most, static_cast<std::int64_t>(tree_.children(node).size()));
      buffered = std::max(buffered, sources.buffered_children(node));
    }
    rows_ = std::clamp<std::int64_t>(kMostScores / most, 1, softmax_.kRows);
    const std::int64_t leaves = tree_.num_leaves();
    threads_ = sources.threads_for(sources.rows() * leaves * sources.depth());
    workers_.resize(static_cast<std::size_t>(threads_));
    for (Worker& w : workers_) {
      w.log_p.reserve(rows_ * tree_.num_nodes());
      w.scores.reserve(rows_ * most);
      w.vectors.reserve(buffered * sources.depth());
    }
  }

  void run() {
    for_tasks(divide_up(sources_.rows(), rows_), threads_, [this](std::int64_t task, int worker) {
      const std::int64_t row = task * rows_;
      take(workers_[static_cast<std::size_t>(worker)], row, std::min(rows_, sources_.rows() - row));
    });
  }

 private:
  static constexpr std::int64_t kMostScores = 1 << 18;

  struct Worker {
    Buffer<double> log_p;  // of inner nodes, for each row
    Buffer<T> scores;
    Buffer<T> vectors;
  };

  void take(const Worker& w, std::int64_t row, std::int64_t rows) const {
    const std::int64_t targets[NodeSoftmax<T>::kRows] = {};
    kernels::ChosenRows x = sources_.x();
    x.data = static_cast<const char*>(x.data) + row * x.stride;
    const auto first_node = static_cast<Id>(tree_.num_leaves());
    std::fill_n(w.log_p.get() + tree_.root() * rows_, rows, 0.0);
    for (const Id node : tree_.preorder()) {
      const auto children = tree_.children(node);
      const auto count = static_cast<std::int64_t>(children.size());
      T* const scores = w.scores.get();
      softmax_.score(x, rows, node, sources_.children(node, w.vectors.get()), scores);
      kernels::RowLoss found[NodeSoftmax<T>::kRows];
      softmax_.find(scores, rows, count, targets, found);
      const double* const above = w.log_p.get() + node * rows_;
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t c = 0; c < count; ++c) {
          const double sum = above[r] + softmax_.log_p(found[r], scores[r * count + c]);
          const double log_p = sum == sum ? sum : kNan;
          const Id child = children[static_cast<std::size_t>(c)];
          if (child < first_node)
            out_[(row + r) * first_node + child] = static_cast<T>(log_p);
          else
            w.log_p.get()[(child - first_node) * rows_ + r] = log_p;
        }
      }
    }
  }

  const TreeSources<T>& sources_;
  const Tree& tree_;
  NodeSoftmax<T> softmax_;
  T* out_;
  std::int64_t rows_;
  int threads_;
  std::vector<Worker> workers_;
};

}  // namespace

template <class T>
void tree_softmax_log_probs(const TreeSources<T>& sources, T* out) {
  if (sources.tree().num_nodes() == 0)
    return static_cast<void>(std::fill_n(out, sources.rows(), T(0)));
  SoftmaxLeaves<T>(sources, out).run();
}
template void tree_softmax_log_probs(const TreeSources<float>&, float*);
template void tree_softmax_log_probs(const TreeSources<double>&, double*);

}  // namespace fastsoftmax
