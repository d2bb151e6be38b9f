// Log-probabilities of some classes of an adaptive softmax, or of all of them.
#include <algorithm>
#include <array>
#include <span>
#include <utility>
#include <vector>

#include "adaptive_softmax.h"
#include "axis_call.h"
#include "call_threads.h"
#include "linear_sweep.h"
#include "tasks.h"

namespace fastsoftmax {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

template <class T>
T rounded(double log) {
  return static_cast<T>(log == log ? log : kNan);
}

// `ids`: per_row for each row.
template <class T>
void some_classes(const AdaptiveLayer& layer, const AdaptiveClasses& classes,
                  const std::vector<std::int64_t>& ids, std::int64_t per_row, T* out,
                  int max_threads) {
  std::vector<std::int64_t> entries;
  std::vector<RowSet> of_clusters(at(classes.clusters()));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    entries.push_back(classes.head_entry(ids[i]));
    const std::int64_t cluster = classes.cluster_of(ids[i]);
    if (cluster < 0) continue;
    RowSet& rows = of_clusters[at(cluster)];
    const std::int64_t row = static_cast<std::int64_t>(i) / per_row;
    if (rows.empty() || rows.back() != row) rows.push_back(row);
  }
  std::vector<double> logs;
  {
    LinearSweep<T> head(head_of(layer), 1.0, max_threads);
    Gathered<T> gathered(entries, per_row);
    head.run(&gathered);
    for (std::size_t i = 0; i < ids.size(); ++i)
      logs.push_back(head.log_prob(gathered, static_cast<std::int64_t>(i)));
  }
  for (std::int64_t cluster = 0; cluster < classes.clusters(); ++cluster) {
    const RowSet& rows = of_clusters[at(cluster)];
    if (rows.empty()) continue;
    std::vector<std::int64_t> inside;
    for (const std::int64_t row : rows) {
      for (std::int64_t i = row * per_row; i < (row + 1) * per_row; ++i) {
        const std::int64_t id = ids[at(i)];
        const bool here = classes.cluster_of(id) == cluster;
        inside.push_back(here ? id - classes.first(cluster) : kNoTarget);
      }
    }
    const ClusterRows<T> of(layer, cluster, rows);
    LinearSweep<T> sweep(of.layer(), 1.0, max_threads);
    Gathered<T> gathered(inside, per_row);
    sweep.run(&gathered);
    for (std::int64_t i = 0; i < std::ssize(inside); ++i) {
      if (inside[at(i)] != kNoTarget)
        logs[at(rows[at(i / per_row)] * per_row + i % per_row)] += sweep.log_prob(gathered, i);
    }
  }
  std::ranges::transform(logs, out, rounded<T>);
}

// Scores of consecutive classes of all rows, in the place of the results.
template <class T>
struct Block {
  T* first;
  std::int64_t stride;  // elements from row to row
  std::int64_t classes;

  // Passes over what is behind the classes.
  void copy(const Strip<T>& strip) const {
    const std::int64_t count = std::min(strip.classes, classes - strip.first_class);
    for (std::int64_t r = 0; r < strip.rows && count > 0; ++r)
      std::copy_n(strip.row(r), count, first + (strip.first_row + r) * stride + strip.first_class);
  }
};

// From scores to log-probabilities, and to each row's is added what `cluster` says.
template <class T, class Cluster>
void normalize(const Block<T>& block, const LinearSweep<T>& sweep, std::int64_t rows, int threads,
               Cluster cluster) {
  for_tasks(rows, threads_for(rows * block.classes, threads), [&](std::int64_t row, int) {
    const kernels::RowLoss& loss = sweep.loss(row);
    const double above = cluster(row);
    T* const z = block.first + row * block.stride;
    for (std::int64_t i = 0; i < block.classes; ++i)
      z[i] = rounded<T>(log_prob_of(loss, static_cast<double>(z[i])) + above);
  });
}

template <class T>
void all_classes(const AdaptiveLayer& layer, const AdaptiveClasses& classes, T* out,
                 int max_threads) {
  const std::int64_t rows = layer.x.shape[0];
  const std::int64_t clusters = classes.clusters();
  std::vector<std::int64_t> entries;
  entries.reserve(static_cast<std::size_t>(rows * clusters));
  for (std::int64_t i = 0; i < rows * clusters; ++i)
    entries.push_back(classes.shortlist() + i % clusters);
  std::vector<double> of_clusters;
  const auto fill = [&](LinearSweep<T>& sweep, std::int64_t first, std::int64_t count,
                        Gathered<T>* gathered, auto cluster) {
    const Block<T> block{out + first, classes.count(), count};
    sweep.run(gathered, [&block](const Strip<T>& strip, int) { block.copy(strip); });
    normalize(block, sweep, rows, sweep.scores().threads(), cluster);
  };
  {
    LinearSweep<T> head(head_of(layer), 1.0, max_threads);
    Gathered<T> gathered(entries, clusters);
    fill(head, 0, classes.shortlist(), &gathered, [](std::int64_t) { return 0.0; });
    for (std::int64_t i = 0; i < rows * clusters; ++i)
      of_clusters.push_back(head.log_prob(gathered, i));
  }
  const RowSet numbers = all_rows(rows);
  for (std::int64_t cluster = 0; cluster < clusters; ++cluster) {
    const ClusterRows<T> of(layer, cluster, numbers);
    LinearSweep<T> sweep(of.layer(), 1.0, max_threads);
    fill(sweep, classes.first(cluster), classes.size(cluster), nullptr,
         [&](std::int64_t row) { return of_clusters[at(row * clusters + cluster)]; });
  }
}

}  // namespace

void adaptive_log_prob(const AdaptiveLayer& layer, const std::optional<ConstView>& ids,
                       const View& out, int max_threads) {
  const AdaptiveClasses classes(layer);
  const std::int64_t rows = layer.x.shape[0];
  std::vector<std::int64_t> wanted;
  if (ids) wanted = read_ids(*ids, rows, classes.count());
  const std::array all = {rows, classes.count()};
  with_arithmetic(layer, [&]<class T>() {
    const std::span<const std::int64_t> shape = ids ? ids->shape : std::span(all);
    check_adaptive_output(out, "out", dtype_of_arithmetic<T>, shape, layer);
    T* const to = static_cast<T*>(out.data);
    if (!ids) return all_classes<T>(layer, classes, to, max_threads);
    check_apart(out, "out", {&*ids});
    some_classes<T>(layer, classes, wanted, shape.size() == 2 ? shape[1] : 1, to, max_threads);
  });
}

}  // namespace fastsoftmax
