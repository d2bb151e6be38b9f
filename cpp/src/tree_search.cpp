#include "tree_search.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <new>
#include <vector>

#include "tree_step.h"

namespace fastsoftmax {
namespace {

// Sums are kept in double, but compared as results are, by which leaves are told apart.
template <class T>
struct Candidate {
  double log_p;
  Tree::Id id;

  T rounded() const { return static_cast<T>(log_p); }
  bool is_below(double bound) const { return static_cast<double>(rounded()) < bound; }
};

// What comes before what. Nodes come before leaves that are as probable, since one such leaf with a
// lower id may be below. NaN comes first.
template <class T>
struct Order {
  Tree::Id first_node;

  bool is_leaf(const Candidate<T>& c) const { return c.id < first_node; }
  bool operator()(const Candidate<T>& a, const Candidate<T>& b) const {
    const T of_a = a.rounded();
    const T of_b = b.rounded();
    if (of_a != of_b) {
      if (of_a > of_b) return true;
      if (of_a < of_b) return false;
      if (std::isnan(of_a) != std::isnan(of_b)) return std::isnan(of_a);
    }
    if (is_leaf(a) != is_leaf(b)) return is_leaf(b);
    return a.id < b.id;
  }
};

// The search of one row.
template <class T>
class Search {
 public:
  using Id = Tree::Id;

  Search(const Tree& tree, const TreeTopK& topk)
      : tree_(tree), topk_(topk), precedes_{static_cast<Id>(tree.num_leaves())} {}

  void begin(std::int64_t row) {
    row_ = row;
    found_ = 0;
    visited_ = 0;
    candidates_.clear();
    best_.clear();
    const Id root = tree_.root();
    next_ = {0.0, root == Tree::kNone ? 0 : first_node() + root};
    has_next_ = true;
  }
  std::int32_t row() const { return static_cast<std::int32_t>(row_); }
  Id node() const { return next_.id - first_node(); }

  // Puts out the leaves that come next. Whether there is a node to visit then.
  bool advance() {
    while (found_ < topk_.k && choose()) {
      if (next_.is_below(topk_.min_log_prob)) break;
      if (!precedes_.is_leaf(next_)) return true;
      put(next_);
      has_next_ = false;
    }
    end();
    return false;
  }

  // The children of the node, given their log-probabilities; expect(node) for nodes among them.
  template <class Expect>
  void take(const double* log_p, Expect expect) {
    ++visited_;
    const double above = next_.log_p;
    const auto children = tree_.children(node());
    has_next_ = false;
    for (std::size_t c = 0; c < children.size(); ++c) {
      Candidate<T> child{above + log_p[c], children[c]};
      if (std::ssize(best_) == topk_.k && child.is_below(best_.front())) continue;
      if (precedes_.is_leaf(child))
        note(static_cast<double>(child.rounded()));
      else
        expect(child.id - first_node());
      if (!has_next_) {
        next_ = child;
        has_next_ = true;
        continue;
      }
      if (precedes_(child, next_)) std::swap(child, next_);
      push(child);
    }
  }

  // Level by level; visit(nodes, take(i, log_p)) for any number of nodes.
  template <class Visit>
  void search_beam(Visit visit) {
    std::vector<Candidate<T>> level = {next_};
    std::vector<Candidate<T>> below;
    std::vector<Candidate<T>> inner;
    std::vector<Id> nodes;
    while (true) {
      below.clear();
      inner.clear();
      nodes.clear();
      for (const Candidate<T>& c : level) {
        if (precedes_.is_leaf(c)) {
          below.push_back(c);
        } else {
          inner.push_back(c);
          nodes.push_back(c.id - first_node());
        }
      }
      if (inner.empty()) break;
      visited_ += std::ssize(nodes);
      visit(nodes, [&](std::size_t i, const double* log_p) {
        const auto children = tree_.children(nodes[i]);
        for (std::size_t c = 0; c < children.size(); ++c) {
          const Candidate<T> child{inner[i].log_p + log_p[c], children[c]};
          if (!child.is_below(topk_.min_log_prob)) below.push_back(child);
        }
      });
      if (std::ssize(below) > topk_.beam) {
        std::ranges::nth_element(below, below.begin() + topk_.beam, precedes_);
        below.resize(static_cast<std::size_t>(topk_.beam));
      }
      level.swap(below);
    }
    std::ranges::sort(level, precedes_);
    for (const Candidate<T>& leaf : level) {
      if (found_ < topk_.k && !leaf.is_below(topk_.min_log_prob)) put(leaf);
    }
    end();
  }

 private:
  Id first_node() const { return precedes_.first_node; }

  bool behind(const Candidate<T>& a, const Candidate<T>& b) const { return precedes_(b, a); }
  auto order() const {
    return [this](const Candidate<T>& a, const Candidate<T>& b) { return behind(a, b); };
  }
  void push(const Candidate<T>& c) {
    candidates_.push_back(c);
    std::ranges::push_heap(candidates_, order());
  }
  // The first of all candidates to next_, which is apart from the heap because a child mostly
  // follows its parent. False where there is none.
  bool choose() {
    if (candidates_.empty()) return has_next_;
    if (has_next_ && !precedes_(candidates_.front(), next_)) return true;
    std::ranges::pop_heap(candidates_, order());
    const Candidate<T> first = candidates_.back();
    candidates_.pop_back();
    if (has_next_) push(next_);
    next_ = first;
    has_next_ = true;
    return true;
  }
  // The k best leaves so far, the least probable first.
  void note(double log_p) {
    if (std::isnan(log_p)) return;
    best_.push_back(log_p);
    std::ranges::push_heap(best_, std::ranges::greater());
    if (std::ssize(best_) <= topk_.k) return;
    std::ranges::pop_heap(best_, std::ranges::greater());
    best_.pop_back();
  }

  T* values() const { return static_cast<T*>(topk_.values) + row_ * topk_.k; }
  std::int64_t* indices() const { return topk_.indices + row_ * topk_.k; }
  void put(const Candidate<T>& leaf) {
    const T log_p = leaf.rounded();
    values()[found_] = std::isnan(log_p) ? static_cast<T>(kNan) : log_p;
    indices()[found_] = leaf.id;
    ++found_;
  }
  void end() {
    std::fill(values() + found_, values() + topk_.k, -std::numeric_limits<T>::infinity());
    std::fill(indices() + found_, indices() + topk_.k, -1);
    if (topk_.visited != nullptr) topk_.visited[row_] = visited_;
  }

  const Tree& tree_;
  const TreeTopK& topk_;
  Order<T> precedes_;
  std::int64_t row_ = 0;
  std::int64_t found_ = 0;
  std::int64_t visited_ = 0;
  Candidate<T> next_{};
  bool has_next_ = false;
  std::vector<Candidate<T>> candidates_;
  std::vector<double> best_;
};

// Rows of a task, taken step by step in turn, so that one's vectors come from memory while the
// others' are multiplied.
template <class T>
class Searches {
 public:
  using Id = Tree::Id;
  static constexpr std::int64_t kRows = TreeStep<T>::kVisits;

  Searches(const TreeSources<T>& sources, const TreeTopK& topk)
      : step_(sources), rows_(kRows, Search<T>(sources.tree(), topk)), beam_(topk.beam) {}

  void run(std::int64_t first, std::int64_t last) {
    active_.clear();
    for (std::int64_t r = first; r < last; ++r) {
      Search<T>& search = rows_[static_cast<std::size_t>(r - first)];
      search.begin(r);
      if (beam_ > 0)
        run_beam(search);
      else
        active_.push_back(&search);
    }
    while (!active_.empty()) {
      std::erase_if(active_, [](Search<T>* search) { return !search->advance(); });
      std::int32_t rows[kRows];
      Id nodes[kRows];
      for (std::size_t i = 0; i < active_.size(); ++i) {
        rows[i] = active_[i]->row();
        nodes[i] = active_[i]->node();
      }
      step_.visit(rows, nodes, std::ssize(active_), [&](std::int64_t i, const double* log_p) {
        active_[static_cast<std::size_t>(i)]->take(log_p, [this](Id node) { step_.expect(node); });
      });
    }
  }

 private:
  void run_beam(Search<T>& search) {
    std::int32_t rows[kRows];
    std::fill_n(rows, kRows, search.row());
    search.search_beam([&](const std::vector<Id>& nodes, auto take) {
      for (std::size_t i = 0; i < nodes.size(); i += kRows) {
        const auto visits =
            std::min<std::int64_t>(kRows, std::ssize(nodes) - static_cast<std::int64_t>(i));
        step_.visit(rows, nodes.data() + i, visits, [&](std::int64_t v, const double* log_p) {
          take(i + static_cast<std::size_t>(v), log_p);
        });
      }
    });
  }

  TreeStep<T> step_;
  std::vector<Search<T>> rows_;
  std::vector<Search<T>*> active_;
  std::int64_t beam_;
};

// A worker for each thread, and body(worker, first row, last row) for all rows, at most kTaskRows
// at a time; what it throws is std::bad_alloc.
constexpr std::int64_t kTaskRows = 8;
template <class W, class T, class Body, class... Args>
void for_rows(const TreeSources<T>& sources, Body body, const Args&... args) {
  const std::int64_t tasks = divide_up(sources.rows(), kTaskRows);
  std::vector<W> workers;
  const auto threads = std::clamp<std::int64_t>(tasks, 1, sources.threads());
  workers.reserve(static_cast<std::size_t>(threads));
  for (std::int64_t w = 0; w < threads; ++w) workers.emplace_back(sources, args...);
  std::atomic<bool> failed = false;
  for_tasks(tasks, static_cast<int>(threads), [&](std::int64_t task, int worker) {
    const std::int64_t first = task * kTaskRows;
    try {
      body(workers[static_cast<std::size_t>(worker)], first,
           std::min(first + kTaskRows, sources.rows()));
    } catch (const std::bad_alloc&) {
      failed = true;
    }
  });
  if (failed) throw std::bad_alloc();
}

}  // namespace

template <class T>
void search_tree(const TreeSources<T>& sources, const TreeTopK& topk) {
  static_assert(kTaskRows <= Searches<T>::kRows);
  for_rows<Searches<T>>(
      sources,
      [](Searches<T>& searches, std::int64_t first, std::int64_t last) {
        searches.run(first, last);
      },
      topk);
}

template <class T>
void sample_tree(const TreeSources<T>& sources, std::uint64_t seed, std::uint32_t position,
                 std::int64_t* out) {
  const Tree& tree = sources.tree();
  const auto first_node = static_cast<Tree::Id>(tree.num_leaves());
  kernels::RandomStream stream{};
  stream.key[0] = static_cast<std::uint32_t>(seed);
  stream.key[1] = static_cast<std::uint32_t>(seed >> 32);
  stream.position = position;
  const auto draw = [&](TreeStep<T>& step, std::int64_t row) {
    kernels::RandomStream random = stream;
    random.id[0] = static_cast<std::uint32_t>(row);
    Tree::Id id = tree.root() == Tree::kNone ? 0 : first_node + tree.root();
    for (; id >= first_node; ++random.id[1]) {
      const Tree::Id node = id - first_node;
      const std::int64_t code = step.draw(static_cast<std::int32_t>(row), node, random);
      id = tree.children(node)[static_cast<std::size_t>(code)];
    }
    return id;
  };
  for_rows<TreeStep<T>>(sources, [&](TreeStep<T>& step, std::int64_t first, std::int64_t last) {
    for (std::int64_t r = first; r < last; ++r) out[r] = draw(step, r);
  });
}

template void search_tree(const TreeSources<float>&, const TreeTopK&);
template void search_tree(const TreeSources<double>&, const TreeTopK&);
template void sample_tree(const TreeSources<float>&, std::uint64_t, std::uint32_t, std::int64_t*);
template void sample_tree(const TreeSources<double>&, std::uint64_t, std::uint32_t, std::int64_t*);

}  // namespace fastsoftmax
