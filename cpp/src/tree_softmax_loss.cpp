// Losses in trees that are not binary: a softmax at each node, level by level, so that a row's
// gradient is added to in the order of its way.
#include <algorithm>
#include <vector>

#include "node_softmax.h"
#include "tree_loss.h"

namespace fastsoftmax {
namespace {

using kernels::LossGradient;
using kernels::RowLoss;
using kernels::WeightedRowsJob;

template <class T>
class SoftmaxLoss {
 public:
  using Id = Tree::Id;

  explicit SoftmaxLoss(const TreeLoss<T>& loss)
      : loss_(loss),
        sources_(loss.sources),
        batch_(loss.batch),
        tree_(batch_.tree()),
        softmax_(sources_),
        depth_(sources_.depth()) {
    list_pieces();
    if (loss.with_weights()) list_children();
  }

  void run() {
    for (std::size_t first = 0, last; first < pieces_.size(); first = last) {
      std::int64_t scores = 0;
      for (last = first; last < pieces_.size(); ++last) {
        if (last > first && !goes_with(pieces_[last], pieces_[last - 1])) break;
        if (last > first && scores + scores_of(pieces_[last]) > kGroupScores) break;
        pieces_[last].scores = scores;
        scores += scores_of(pieces_[last]);
      }
      take(first, last, scores);
    }
  }

 private:
  // Entries of a node.
  struct Piece {
    Id node;
    std::int32_t first, last;
    std::int64_t gradient = 0;  // where its children's gradients begin in rows_of_children_
    std::int64_t scores = 0;
  };
  // Scores that are kept for the gradients of vectors.
  static constexpr std::int64_t kGroupScores = 1 << 20;
  static constexpr std::int64_t kChildrenPerTask = 64;

  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
  std::int64_t row_bytes() const { return depth_ * static_cast<std::int64_t>(sizeof(T)); }
  std::int64_t children(const Piece& p) const {
    return static_cast<std::int64_t>(tree_.children(p.node).size());
  }
  std::int64_t scores_of(const Piece& p) const { return (p.last - p.first) * children(p); }
  // Of one level and of different nodes.
  bool goes_with(const Piece& a, const Piece& b) const {
    return a.node != b.node && tree_.node_depth(a.node) == tree_.node_depth(b.node);
  }

  void list_pieces() {
    auto touched = batch_.touched();
    std::ranges::sort(touched, {}, [this](const TreeBatch::Touched& t) {
      return std::pair(tree_.node_depth(t.node), t.first);
    });
    std::int64_t gradient = 0;
    for (const auto& t : touched) {
      Piece piece{t.node, t.first, t.last, gradient};
      const std::int64_t count = children(piece);
      gradient += count;
      const std::int64_t most = std::max<std::int64_t>(kGroupScores / count, 1);
      for (std::int64_t first = t.first; first < t.last; first += most) {
        piece.first = static_cast<std::int32_t>(first);
        piece.last = static_cast<std::int32_t>(std::min<std::int64_t>(first + most, t.last));
        pieces_.push_back(piece);
      }
    }
  }

  // The ids that have gradients, and where those of each node's children are.
  void list_children() {
    std::vector<std::pair<Id, std::int32_t>> found;  // an id, and where it is in pieces
    for (std::size_t p = 0; p < pieces_.size(); ++p) {
      if (p > 0 && pieces_[p].node == pieces_[p - 1].node) continue;
      for (const Id id : tree_.children(pieces_[p].node))
        found.emplace_back(id, static_cast<std::int32_t>(found.size()));
    }
    std::ranges::sort(found);
    std::vector<std::int64_t> ids;
    ids.reserve(found.size());
    rows_of_children_.resize(found.size());
    for (const auto& [id, place] : found) {
      rows_of_children_[at(place)] = static_cast<std::int32_t>(ids.size());
      ids.push_back(id);
    }
    if (loss_.grad_bias != nullptr) *loss_.grad_bias = SparseRows(ids, 1, dtype_of_arithmetic<T>);
    if (loss_.grad_weights != nullptr)
      *loss_.grad_weights = SparseRows(std::move(ids), depth_, dtype_of_arithmetic<T>);
  }

  // Pieces that go together; their scores are so many.
  void take(std::size_t first, std::size_t last, std::int64_t scores) {
    scores_.reserve(scores);
    slices_.clear();
    std::int64_t buffered = 0;
    for (std::size_t p = first; p < last; ++p) {
      const Piece& piece = pieces_[p];
      buffered = std::max(buffered, sources_.buffered_children(piece.node) * depth_);
      for (std::int64_t e = piece.first; e < piece.last; e += softmax_.kRows)
        slices_.push_back({p, e, std::min<std::int64_t>(e + softmax_.kRows, piece.last)});
    }
    buffers_.reserve(buffered * sources_.threads());
    const int threads = sources_.threads_for(scores * depth_);
    for_tasks(static_cast<std::int64_t>(slices_.size()), threads, [&](std::int64_t s, int worker) {
      add(slices_[at(s)], buffers_.get() + worker * buffered);
    });
    if (!loss_.with_weights()) return;
    slices_.clear();
    for (std::size_t p = first; p < last; ++p) {
      const std::int64_t count = children(pieces_[p]);
      for (std::int64_t c = 0; c < count; c += kChildrenPerTask)
        slices_.push_back({p, c, std::min(c + kChildrenPerTask, count)});
    }
    for_tasks(static_cast<std::int64_t>(slices_.size()), threads,
              [&](std::int64_t s, int) { add_to_weights(slices_[at(s)]); });
  }

  // Some entries of a piece, or some of its children.
  struct Slice {
    std::size_t piece;
    std::int64_t first, last;
  };

  void add(const Slice& slice, T* buffer) {
    const Piece& piece = pieces_[slice.piece];
    const std::int64_t count = children(piece);
    const std::int64_t rows = slice.last - slice.first;
    const auto vectors = sources_.children(piece.node, buffer);
    const std::int32_t* const x_rows = batch_.rows() + slice.first;
    T* const scores = scores_.get() + piece.scores + (slice.first - piece.first) * count;
    softmax_.score(sources_.x(x_rows), rows, piece.node, vectors, scores);
    std::int64_t targets[NodeSoftmax<T>::kRows];
    for (std::int64_t r = 0; r < rows; ++r) targets[r] = code_at(slice.first + r, piece.node);
    RowLoss losses[NodeSoftmax<T>::kRows];
    softmax_.find(scores, rows, count, targets, losses);
    const LossWeights of_target{1.0, 0.0, 0.0, 1.0};
    for (std::int64_t r = 0; r < rows; ++r)
      loss_.losses[batch_.place(slice.first + r)] += loss_of(of_target, losses[r]);
    if (!loss_.with_gradient()) return;
    LossGradient gradients[NodeSoftmax<T>::kRows];
    for (std::int64_t r = 0; r < rows; ++r) {
      const double upstream = loss_.upstream_of(batch_.place(slice.first + r));
      gradients[r] = gradient_of({1.0, 0.0, 0.0, upstream}, losses[r]);
    }
    softmax_.differentiate(scores, rows, count, targets, gradients);
    if (loss_.grad_x == nullptr) return;
    WeightedRowsJob sums{};
    sums.v = vectors;
    sums.rows = rows;
    sums.terms = count;
    sums.coefficients = scores;
    sums.row_step = count;
    sums.term_step = 1;
    sums.length = depth_;
    sums.out = loss_.grad_x;
    sums.out_stride = row_bytes();
    sums.out_ids = x_rows;
    sums.add = true;
    sources_.kernels().weighted_rows(sums);
  }

  // Which child of the node is on the way to an entry below it.
  std::int64_t code_at(std::int64_t e, Id node) const {
    const Id position = tree_.leaf_position(batch_.leaf(e));
    const auto ids = tree_.children(node);
    const auto behind = std::ranges::partition_point(ids, [&](Id id) {
      if (id < tree_.num_leaves()) return tree_.leaf_position(id) <= position;
      return tree_.first_leaf(static_cast<Id>(id - tree_.num_leaves())) <= position;
    });
    return behind - ids.begin() - 1;
  }

  void add_to_weights(const Slice& slice) {
    const Piece& piece = pieces_[slice.piece];
    const std::int64_t count = children(piece);
    const std::int64_t entries = piece.last - piece.first;
    const bool begun = slice.piece > 0 && pieces_[slice.piece - 1].node == piece.node;
    const T* const derivatives = scores_.get() + piece.scores + slice.first;
    const std::int32_t* const to = rows_of_children_.data() + piece.gradient + slice.first;
    if (loss_.grad_weights != nullptr) {
      WeightedRowsJob sums{};
      sums.v = sources_.x(batch_.rows() + piece.first);
      sums.rows = slice.last - slice.first;
      sums.terms = entries;
      sums.coefficients = derivatives;
      sums.row_step = 1;
      sums.term_step = count;
      sums.length = depth_;
      sums.out = loss_.grad_weights->values();
      sums.out_stride = row_bytes();
      sums.out_ids = to;
      sums.add = begun;
      sources_.kernels().weighted_rows(sums);
    }
    if (loss_.grad_bias == nullptr) return;
    T* const of_bias = static_cast<T*>(loss_.grad_bias->values());
    for (std::int64_t c = 0; c < slice.last - slice.first; ++c) {
      double sum = begun ? static_cast<double>(of_bias[to[c]]) : 0.0;
      for (std::int64_t e = 0; e < entries; ++e)
        sum += static_cast<double>(derivatives[e * count + c]);
      of_bias[to[c]] = static_cast<T>(sum == sum ? sum : kNan);
    }
  }

  const TreeLoss<T>& loss_;
  const TreeSources<T>& sources_;
  const TreeBatch& batch_;
  const Tree& tree_;
  NodeSoftmax<T> softmax_;
  std::int64_t depth_;
  std::vector<Piece> pieces_;  // by level
  std::vector<std::int32_t> rows_of_children_;
  std::vector<Slice> slices_;
  Buffer<T> scores_;  // later their derivatives
  Buffer<T> buffers_;
};

}  // namespace

template <class T>
void tree_softmax_loss(const TreeLoss<T>& loss) {
  SoftmaxLoss<T>(loss).run();
}
template void tree_softmax_loss(const TreeLoss<float>&);
template void tree_softmax_loss(const TreeLoss<double>&);

}  // namespace fastsoftmax
