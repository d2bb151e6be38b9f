// Losses in binary trees: log sigmoids on the way down.
#include <algorithm>
#include <vector>

#include "loss_rows.h"
#include "tree_loss.h"

namespace fastsoftmax {
namespace {

using kernels::ProductsJob;
using kernels::WeightedRowsJob;
using Touched = TreeBatch::Touched;

template <class T>
class BinaryLoss {
 public:
  using Id = Tree::Id;

  explicit BinaryLoss(const TreeLoss<T>& loss)
      : loss_(loss),
        sources_(loss.sources),
        batch_(loss.batch),
        kernels_(sources_.kernels()),
        depth_(sources_.depth()) {
    if (loss.with_weights()) list_touched();
  }

  // Entries [first, last).
  void add(std::int64_t first, std::int64_t last) {
    lay_out(first, last);
    for_tasks(runs(), sources_.threads_for(length_ * depth_),
              [this](std::int64_t run, int worker) { go_down(run, worker); });
    if (loss_.with_weights()) add_to_weights();
  }

 private:
  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
  std::int64_t runs() const { return static_cast<std::int64_t>(begins_.size()) - 1; }
  std::int64_t row_bytes() const { return depth_ * static_cast<std::int64_t>(sizeof(T)); }
  // Where the way of an entry begins.
  std::int64_t start(std::int64_t e) const { return starts_[at(e - first_)]; }

  void list_touched() {
    touched_ = batch_.touched();
    std::ranges::sort(touched_, {}, &Touched::node);
    std::vector<std::int64_t> ids;
    ids.reserve(touched_.size());
    for (const Touched& t : touched_) ids.push_back(t.node);
    if (loss_.grad_bias != nullptr) *loss_.grad_bias = SparseRows(ids, 1, dtype_of_arithmetic<T>);
    if (loss_.grad_weights != nullptr)
      *loss_.grad_weights = SparseRows(std::move(ids), depth_, dtype_of_arithmetic<T>);
  }

  void lay_out(std::int64_t first, std::int64_t last) {
    first_ = first;
    last_ = last;
    starts_.resize(at(last - first + 1));
    starts_[0] = 0;
    for (std::int64_t e = first; e < last; ++e)
      starts_[at(e - first + 1)] = starts_[at(e - first)] + batch_.depth(e);
    length_ = starts_.back();
    begins_ = runs_of(batch_, first, last, kRunNodes);
    std::int64_t longest = 0;
    for (std::int64_t r = 0; r < runs(); ++r)
      longest = std::max(longest, start(begins_[at(r + 1)]) - start(begins_[at(r)]));
    nodes_.reserve(length_);
    codes_.reserve(length_);
    scores_.reserve(length_);
    log_p_.reserve(length_);
    offsets_.reserve(last - first + runs());
    buffer_step_ = sources_.is_direct() ? 0 : longest * depth_;
    buffers_.reserve(buffer_step_ * sources_.threads());
  }

  // The entries of a run: their losses, and the gradient of their rows.
  void go_down(std::int64_t run, int worker) {
    const std::int64_t first = begins_[at(run)];
    const std::int64_t last = begins_[at(run + 1)];
    const std::int64_t from = start(first);
    const std::int64_t length = start(last) - from;
    Id* const nodes = nodes_.get() + from;
    Id* const codes = codes_.get() + from;
    T* const scores = scores_.get() + from;
    T* const log_p = log_p_.get() + from;
    std::int64_t* const offsets = offsets_.get() + (first - first_) + run;
    for (std::int64_t e = first; e <= last; ++e) {
      offsets[e - first] = start(e) - from;
      if (e < last) batch_.way(e, nodes + offsets[e - first], codes + offsets[e - first]);
    }
    ProductsJob products{};
    products.a = sources_.x(batch_.rows() + first);
    products.b = sources_.nodes(nodes, length, buffers_.get() + worker * buffer_step_);
    products.rows = last - first;
    products.offsets = offsets;
    products.length = depth_;
    products.out = scores;
    kernels_.products(products);
    const T* const bias = sources_.node_bias();
    for (std::int64_t j = 0; j < length; ++j) {
      const T z = bias == nullptr ? scores[j] : scores[j] + bias[nodes[j]];
      scores[j] = codes[j] == 0 ? z : -z;
    }
    kernels_.log_sigmoid(scores, length, log_p, loss_.with_gradient() ? scores : nullptr);
    for (std::int64_t e = first; e < last; ++e) put_loss(e, log_p - from);
    if (!loss_.with_gradient()) return;
    for (std::int64_t e = first; e < last; ++e) {
      const T upstream = loss_.upstream_of(batch_.place(e));
      for (std::int64_t j = start(e) - from; j < start(e + 1) - from; ++j)
        scores[j] *= codes[j] == 0 ? -upstream : upstream;
    }
    if (loss_.grad_x == nullptr) return;
    WeightedRowsJob sums{};
    sums.v = products.b;
    sums.rows = products.rows;
    sums.offsets = offsets;
    sums.coefficients = scores;
    sums.length = depth_;
    sums.out = loss_.grad_x;
    sums.out_stride = row_bytes();
    sums.out_ids = batch_.rows() + first;
    kernels_.weighted_rows(sums);
  }

  void put_loss(std::int64_t e, const T* log_p) {
    double sum = 0.0;
    for (std::int64_t j = start(e); j < start(e + 1); ++j) sum += static_cast<double>(log_p[j]);
    loss_.losses[batch_.place(e)] = sum == sum ? 0.0 - sum : kNan;
  }

  // From the derivatives of the scores, in scores_.
  void add_to_weights() {
    active_.clear();
    terms_ = {0};
    for (std::size_t u = 0; u < touched_.size(); ++u) {
      const Touched& t = touched_[u];
      if (t.last <= first_ || t.first >= last_) continue;
      active_.push_back(static_cast<std::int32_t>(u));
      terms_.push_back(terms_.back() + std::min<std::int64_t>(t.last, last_) -
                       std::max<std::int64_t>(t.first, first_));
    }
    coefficients_.reserve(length_);
    rows_.reserve(length_);
    groups_ = {0};
    for (std::size_t i = 1; i < active_.size(); ++i) {
      if (terms_[i + 1] - terms_[at(groups_.back())] > kRunNodes || is_begun(i) != is_begun(i - 1))
        groups_.push_back(static_cast<std::int64_t>(i));
    }
    groups_.push_back(static_cast<std::int64_t>(active_.size()));
    for_tasks(
        static_cast<std::int64_t>(groups_.size()) - 1, sources_.threads_for(length_ * depth_),
        [this](std::int64_t group, int) { add_group(groups_[at(group)], groups_[at(group + 1)]); });
  }
  // Whether an earlier chunk has added to the gradient.
  bool is_begun(std::size_t active) const { return touched_[at(active_[active])].first < first_; }

  void add_group(std::int64_t first, std::int64_t last) {
    if (first == last) return;
    for (std::int64_t i = first; i < last; ++i) {
      const Touched& t = touched_[at(active_[at(i)])];
      const std::int64_t level = batch_.tree().node_depth(t.node);
      std::int64_t to = terms_[at(i)];
      double sum = 0.0;
      for (std::int64_t e = std::max<std::int64_t>(t.first, first_);
           e < std::min<std::int64_t>(t.last, last_); ++e, ++to) {
        const T derivative = scores_.get()[start(e) + level];
        coefficients_.get()[to] = derivative;
        rows_.get()[to] = batch_.rows()[e];
        sum += static_cast<double>(derivative);
      }
      if (loss_.grad_bias != nullptr) {
        T& of_bias = static_cast<T*>(loss_.grad_bias->values())[active_[at(i)]];
        if (is_begun(at(i))) sum += static_cast<double>(of_bias);
        of_bias = static_cast<T>(sum == sum ? sum : kNan);
      }
    }
    if (loss_.grad_weights == nullptr) return;
    WeightedRowsJob sums{};
    sums.v = sources_.x(rows_.get());
    sums.rows = last - first;
    sums.offsets = terms_.data() + first;
    sums.coefficients = coefficients_.get();
    sums.length = depth_;
    sums.out = loss_.grad_weights->values();
    sums.out_stride = row_bytes();
    sums.out_ids = active_.data() + first;
    sums.add = is_begun(at(first));
    kernels_.weighted_rows(sums);
  }

  const TreeLoss<T>& loss_;
  const TreeSources<T>& sources_;
  const TreeBatch& batch_;
  const kernels::LayerKernels& kernels_;
  std::int64_t depth_;
  std::vector<Touched> touched_;  // by node
  // Of a chunk: its entries, and for each of the nodes on their ways what is known of it.
  std::int64_t first_ = 0;
  std::int64_t last_ = 0;
  std::int64_t length_ = 0;
  std::vector<std::int64_t> starts_;
  std::vector<std::int64_t> begins_;  // of runs
  Buffer<Id> nodes_;
  Buffer<Id> codes_;
  Buffer<T> scores_;  // later their derivatives
  Buffer<T> log_p_;
  Buffer<std::int64_t> offsets_;
  Buffer<T> buffers_;
  std::int64_t buffer_step_ = 0;
  // Nodes with entries in the chunk, and their terms.
  std::vector<std::int32_t> active_;
  std::vector<std::int64_t> terms_;
  std::vector<std::int64_t> groups_;
  Buffer<T> coefficients_;
  Buffer<std::int32_t> rows_;
};

}  // namespace

template <class T>
void binary_tree_loss(const TreeLoss<T>& loss) {
  BinaryLoss<T> of(loss);
  const auto chunks = runs_of(loss.batch, 0, loss.batch.size(), kChunkNodes);
  for (std::size_t c = 0; c + 1 < chunks.size(); ++c) of.add(chunks[c], chunks[c + 1]);
}
template void binary_tree_loss(const TreeLoss<float>&);
template void binary_tree_loss(const TreeLoss<double>&);

}  // namespace fastsoftmax
