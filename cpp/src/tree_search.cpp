#include "tree_search.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <new>
#include <vector>

#include "tree_step.h"

namespace fastsoftmax {
namespace {

struct Candidate {
  double log_p;
  Tree::Id id;
};

template <class T>
class Search {
 public:
  using Id = Tree::Id;

  Search(const TreeSources<T>& sources, const TreeTopK& topk)
      : tree_(sources.tree()), step_(sources), topk_(topk) {}

  void row(std::int64_t r) {
    values_ = static_cast<T*>(topk_.values) + r * topk_.k;
    indices_ = topk_.indices + r * topk_.k;
    found_ = 0;
    visited_ = 0;
    const Id root = tree_.root();
    candidates_.assign(1, {0.0, root == Tree::kNone ? 0 : first_node() + root});
    best_.clear();
    if (topk_.beam > 0)
      search_beam(static_cast<std::int32_t>(r));
    else
      search_best(static_cast<std::int32_t>(r));
    std::fill(values_ + found_, values_ + topk_.k, -std::numeric_limits<T>::infinity());
    std::fill(indices_ + found_, indices_ + topk_.k, -1);
    if (topk_.visited != nullptr) topk_.visited[r] = visited_;
  }

 private:
  Id first_node() const { return static_cast<Id>(tree_.num_leaves()); }
  bool is_leaf(const Candidate& c) const { return c.id < first_node(); }

  // As results are, by which leaves are told apart: sums are kept in double.
  static T rounded(const Candidate& c) { return static_cast<T>(c.log_p); }
  bool is_below(const Candidate& c, double bound) const {
    return static_cast<double>(rounded(c)) < bound;
  }

  // Whether a comes before b. Nodes come before leaves that are as probable, since one such leaf
  // with a lower id may be below.
  bool precedes(const Candidate& a, const Candidate& b) const {
    const T of_a = rounded(a);
    const T of_b = rounded(b);
    if (std::isnan(of_a) != std::isnan(of_b)) return std::isnan(of_a);
    if (!std::isnan(of_a) && of_a != of_b) return of_a > of_b;
    if (is_leaf(a) != is_leaf(b)) return is_leaf(b);
    return a.id < b.id;
  }

  // Calls take(child) for the children of a node.
  template <class Take>
  void visit(std::int32_t row, const Candidate& node, Take take) {
    const auto children = tree_.children(node.id - first_node());
    const double* const log_p = step_.visit(row, node.id - first_node());
    ++visited_;
    for (std::size_t c = 0; c < children.size(); ++c)
      take(Candidate{node.log_p + log_p[c], children[c]});
  }

  void put(const Candidate& leaf) {
    const T log_p = rounded(leaf);
    values_[found_] = std::isnan(log_p) ? static_cast<T>(kNan) : log_p;
    indices_[found_] = leaf.id;
    ++found_;
  }

  void search_best(std::int32_t row) {
    const auto behind = [this](const Candidate& a, const Candidate& b) { return precedes(b, a); };
    const auto k = static_cast<std::size_t>(topk_.k);
    while (found_ < topk_.k && !candidates_.empty()) {
      const Candidate next = candidates_.front();
      std::ranges::pop_heap(candidates_, behind);
      candidates_.pop_back();
      if (is_below(next, topk_.min_log_prob)) return;
      if (is_leaf(next)) {
        put(next);
        continue;
      }
      visit(row, next, [&](const Candidate& child) {
        if (best_.size() == k && is_below(child, best_.front())) return;
        if (is_leaf(child))
          note(static_cast<double>(rounded(child)));
        else
          step_.expect(child.id - first_node());
        candidates_.push_back(child);
        std::ranges::push_heap(candidates_, behind);
      });
    }
  }
  // The k best leaves so far, the least probable first.
  void note(double log_p) {
    if (std::isnan(log_p)) return;
    best_.push_back(log_p);
    std::ranges::push_heap(best_, std::ranges::greater());
    if (best_.size() <= static_cast<std::size_t>(topk_.k)) return;
    std::ranges::pop_heap(best_, std::ranges::greater());
    best_.pop_back();
  }

  void search_beam(std::int32_t row) {
    const auto before = [this](const Candidate& a, const Candidate& b) { return precedes(a, b); };
    const auto is_node = [this](const Candidate& c) { return !is_leaf(c); };
    while (std::ranges::any_of(candidates_, is_node)) {
      next_.clear();
      for (const Candidate& c : candidates_) {
        if (is_leaf(c))
          next_.push_back(c);
        else
          visit(row, c, [&](const Candidate& child) {
            if (!is_below(child, topk_.min_log_prob)) next_.push_back(child);
          });
      }
      if (std::ssize(next_) > topk_.beam) {
        std::ranges::nth_element(next_, next_.begin() + topk_.beam, before);
        next_.resize(static_cast<std::size_t>(topk_.beam));
      }
      candidates_.swap(next_);
    }
    std::ranges::sort(candidates_, before);
    for (const Candidate& leaf : candidates_) {
      if (found_ < topk_.k && !is_below(leaf, topk_.min_log_prob)) put(leaf);
    }
  }

  const Tree& tree_;
  TreeStep<T> step_;
  const TreeTopK& topk_;
  T* values_ = nullptr;
  std::int64_t* indices_ = nullptr;
  std::int64_t found_ = 0;
  std::int64_t visited_ = 0;
  std::vector<Candidate> candidates_;
  std::vector<Candidate> next_;
  std::vector<double> best_;
};

// body(worker's W, row) for all rows; what it throws is std::bad_alloc.
template <class W, class T, class Body>
void for_each_row(const TreeSources<T>& sources, std::vector<W>& workers, Body body) {
  std::atomic<bool> failed = false;
  for_tasks(sources.rows(), static_cast<int>(workers.size()), [&](std::int64_t r, int worker) {
    try {
      body(workers[static_cast<std::size_t>(worker)], r);
    } catch (const std::bad_alloc&) {
      failed = true;
    }
  });
  if (failed) throw std::bad_alloc();
}

int threads_of(std::int64_t rows, int most) {
  return static_cast<int>(std::clamp<std::int64_t>(rows / 4, 1, most));
}

}  // namespace

template <class T>
void search_tree(const TreeSources<T>& sources, const TreeTopK& topk) {
  std::vector<Search<T>> workers;
  const int threads = threads_of(sources.rows(), sources.threads());
  for (int w = 0; w < threads; ++w) workers.emplace_back(sources, topk);
  for_each_row(sources, workers, [](Search<T>& search, std::int64_t r) { search.row(r); });
}

template <class T>
void sample_tree(const TreeSources<T>& sources, std::uint64_t seed, std::uint32_t position,
                 std::int64_t* out) {
  const Tree& tree = sources.tree();
  const auto first_node = static_cast<Tree::Id>(tree.num_leaves());
  std::vector<TreeStep<T>> workers;
  const int threads = threads_of(sources.rows(), sources.threads());
  for (int w = 0; w < threads; ++w) workers.emplace_back(sources);
  for_each_row(sources, workers, [&](TreeStep<T>& step, std::int64_t r) {
    kernels::RandomStream random{};
    random.key[0] = static_cast<std::uint32_t>(seed);
    random.key[1] = static_cast<std::uint32_t>(seed >> 32);
    random.position = position;
    random.id[0] = static_cast<std::uint32_t>(r);
    Tree::Id id = tree.root() == Tree::kNone ? 0 : first_node + tree.root();
    for (; id >= first_node; ++random.id[1]) {
      const Tree::Id node = id - first_node;
      const std::int64_t code = step.draw(static_cast<std::int32_t>(r), node, random);
      id = tree.children(node)[static_cast<std::size_t>(code)];
    }
    out[r] = id;
  });
}

template void search_tree(const TreeSources<float>&, const TreeTopK&);
template void search_tree(const TreeSources<double>&, const TreeTopK&);
template void sample_tree(const TreeSources<float>&, std::uint64_t, std::uint32_t, std::int64_t*);
template void sample_tree(const TreeSources<double>&, std::uint64_t, std::uint32_t, std::int64_t*);

}  // namespace fastsoftmax
