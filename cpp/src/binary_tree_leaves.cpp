// All leaves of a binary tree. Nodes are taken in depth-first order, a tile of vectors at a time,
// so that what is known of the nodes above fits in two lines of rows for each level; leaves come
// by in depth-first order too, and where that is the order of their ids they are written side by
// side.
#include <algorithm>
#include <vector>

#include "transpose.h"
#include "tree_leaves.h"

namespace fastsoftmax {
namespace {

template <class T>
class BinaryLeaves {
 public:
  using Id = Tree::Id;

  BinaryLeaves(const TreeSources<T>& sources, T* out)
      : sources_(sources), tree_(sources.tree()), out_(out) {
    const std::int64_t lines = divide_up(sources.rows(), kLine);
    slots_ = 2 * (tree_.max_depth() + 1);
    lines_ = std::clamp<std::int64_t>(
        std::min(divide_up(lines, sources.threads()), kMostSlots / slots_), 1, kMostLines);
    tasks_ = divide_up(lines, lines_);
    threads_ = static_cast<int>(std::min<std::int64_t>(
        tasks_, sources.threads_for(sources.rows() * tree_.num_nodes() * sources.depth())));
    workers_.resize(static_cast<std::size_t>(threads_));
    for (Worker& w : workers_) {
      w.slots.reserve(lines_ * slots_ * kLine);
      std::fill_n(w.scores.reserve(kNodes * kLine), kNodes * kLine, T(0));
      w.leaves.reserve(2 * kNodes * kLine);
      if (!sources.is_direct()) w.vectors.reserve(kNodes * sources.depth());
      if (sources.node_bias() != nullptr) w.bias.reserve(kNodes);
      w.places.resize(2 * kNodes);
      w.from.resize(kNodes);
      w.runs.reserve(2 * kNodes);
    }
  }

  void run() {
    for_tasks(tasks_, threads_, [this](std::int64_t task, int worker) {
      const std::int64_t first = task * lines_ * kLine;
      take(workers_[static_cast<std::size_t>(worker)], first,
           std::min(first + lines_ * kLine, sources_.rows()));
    });
  }

 private:
  static constexpr std::int64_t kLine = 64 / sizeof(T);  // rows that kernels take together
  static constexpr std::int64_t kNodes = 256;            // whose vectors stay in cache
  static constexpr std::int64_t kMostLines = 8;          // that meet them there
  static constexpr std::int64_t kMostSlots = 4096;       // of these lines, in trees that are deep

  // Leaves next to each other whose ids are, too.
  struct Run {
    std::int64_t first;
    Id id;
    std::int64_t count;
  };
  struct Worker {
    Buffer<double> slots;
    Buffer<T> scores;
    Buffer<T> leaves;
    Buffer<T> vectors;
    Buffer<T> bias;  // none without biases
    std::vector<Id> from;
    std::vector<Id> places;
    std::vector<Run> runs;
  };

  void take(Worker& w, std::int64_t first, std::int64_t last) const {
    const std::int64_t lines = divide_up(last - first, kLine);
    for (std::int64_t l = 0; l < lines; ++l)
      std::fill_n(w.slots.get() + l * slots_ * kLine, kLine, 0.0);
    const auto order = tree_.preorder();
    const std::int64_t nodes = tree_.num_nodes();
    for (std::int64_t n = 0; n < nodes; n += kNodes) {
      const std::int64_t count = std::min(kNodes, nodes - n);
      const Id* const ids = order.data() + n;
      find_places(w, ids, count);
      if (const T* const bias = sources_.node_bias(); bias != nullptr)
        std::transform(ids, ids + count, w.bias.get(), [bias](Id id) { return bias[id]; });
      const auto vectors = sources_.nodes(ids, count, w.vectors.get());
      for (std::int64_t l = 0; l < lines; ++l) {
        const std::int64_t row = first + l * kLine;
        descend(w, count, vectors, l, row, std::min(kLine, last - row));
      }
    }
  }

  // Of a node that is child `code` of one at depth - 1.
  static Id slot(std::int64_t depth, std::int64_t code) {
    return static_cast<Id>(2 * depth + code);
  }

  void find_places(Worker& w, const Id* ids, std::int64_t count) const {
    const auto first_node = static_cast<Id>(tree_.num_leaves());
    std::int64_t leaves = 0;
    w.runs.clear();
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t depth = tree_.node_depth(ids[i]);
      const Id code = tree_.code(first_node + ids[i]);
      const auto at = static_cast<std::size_t>(i);
      w.from[at] = slot(depth, std::max<Id>(code, 0));
      const auto children = tree_.children(ids[i]);
      for (std::size_t c = 0; c < 2; ++c) {
        const Id child = children[c];
        if (child >= first_node) {
          w.places[2 * at + c] = slot(depth + 1, static_cast<std::int64_t>(c));
          continue;
        }
        w.places[2 * at + c] = static_cast<Id>(-1 - leaves);
        if (!w.runs.empty() && w.runs.back().id + w.runs.back().count == child)
          ++w.runs.back().count;
        else
          w.runs.push_back({leaves, child, 1});
        ++leaves;
      }
    }
  }

  void descend(const Worker& w, std::int64_t count, const kernels::ChosenRows& vectors,
               std::int64_t line, std::int64_t row, std::int64_t rows) const {
    kernels::ProductsJob products{};
    products.a = vectors;
    products.b = sources_.x();
    products.b.data = static_cast<const char*>(products.b.data) + row * products.b.stride;
    products.rows = count;
    products.terms = rows;
    products.length = sources_.depth();
    products.out = w.scores.get();
    products.out_stride = kLine;
    sources_.kernels().products(products);
    kernels::DescentJob descent{};
    descent.scores = w.scores.get();
    descent.nodes = count;
    descent.bias = w.bias.get();
    descent.from = w.from.data();
    descent.places = w.places.data();
    descent.slots = w.slots.get() + line * slots_ * kLine;
    descent.leaves = w.leaves.get();
    sources_.kernels().descend(descent);
    const std::int64_t width = tree_.num_leaves();
    for (const Run& run : w.runs)
      transpose(w.leaves.get() + run.first * kLine, kLine, run.count, rows,
                out_ + row * width + run.id, width);
  }

  const TreeSources<T>& sources_;
  const Tree& tree_;
  T* out_;
  std::int64_t lines_;
  std::int64_t tasks_;
  std::int64_t slots_;
  int threads_;
  std::vector<Worker> workers_;
};

}  // namespace

template <class T>
void binary_log_probs(const TreeSources<T>& sources, T* out) {
  if (sources.tree().num_nodes() == 0)
    return static_cast<void>(std::fill_n(out, sources.rows(), T(0)));
  BinaryLeaves<T>(sources, out).run();
}
template void binary_log_probs(const TreeSources<float>&, float*);
template void binary_log_probs(const TreeSources<double>&, double*);

}  // namespace fastsoftmax
