// Classes drawn from an adaptive softmax: an entry of the head for each row, then a class of the
// cluster for the rows that drew one.
#include <algorithm>
#include <array>
#include <vector>

#include "adaptive_softmax.h"
#include "axis_call.h"
#include "linear_checks.h"
#include "per_row.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

// Of the scores that are drawn from at a time; a row at least.
constexpr std::int64_t kScoreBytes = 16 << 20;

// What decides the draw of each row.
struct Randoms {
  std::vector<std::uint64_t> seeds, positions, ids;

  Randoms() = default;
  // x is what arrays are to broadcast against.
  Randoms(const RandomSource& source, const ConstView& x) {
    const auto any = [](std::uint64_t) { return true; };
    const auto in_32_bits = [](std::uint64_t p) { return p < std::uint64_t{1} << 32; };
    const RowValues<std::uint64_t> seed(source.seed, "seed", x, 1, "a number", any);
    const RowValues<std::uint64_t> position(source.position, "position", x, 1, "below 2**32",
                                            in_32_bits);
    const RowValues<std::uint64_t> id(source.row_ids.value_or(PerRow<std::uint64_t>{}), "row_ids",
                                      x, 1, "a number", any);
    for (std::int64_t r = 0; r < x.shape[0]; ++r) {
      seeds.push_back(seed(r));
      positions.push_back(position(r));
      ids.push_back(source.row_ids ? id(r) : static_cast<std::uint64_t>(r));
    }
  }

  // Those of some rows, for their second draw.
  Randoms second(const RowSet& rows) const {
    Randoms of;
    for (const std::int64_t row : rows) {
      const auto r = static_cast<std::size_t>(row);
      of.seeds.push_back(~seeds[r]);
      of.positions.push_back(positions[r]);
      of.ids.push_back(ids[r]);
    }
    return of;
  }
};

// An entry of the layer for each row of x.
template <class T>
std::vector<std::int64_t> draw(const LinearLayer& layer, const Randoms& random, int max_threads) {
  LinearScores<T> scores(layer, 1.0, max_threads);
  const std::int64_t classes = scores.classes();
  const std::int64_t row_bytes = classes * static_cast<std::int64_t>(sizeof(T));
  const std::int64_t most = std::clamp<std::int64_t>(kScoreBytes / row_bytes, 1, kTileRows);
  const RowSet rows = all_rows(scores.rows());
  std::vector<std::int64_t> drawn(rows.size());
  RowBuffer<T> z;
  for (std::int64_t first = 0; first < scores.rows(); first += most) {
    const std::int64_t count = std::min(most, scores.rows() - first);
    scores.write(rows, first, count, z.reserve(count, classes));
    const std::array shape = {count, std::int64_t{1}};
    const std::array<std::int64_t, 2> strides = {sizeof(std::int64_t), sizeof(std::int64_t)};
    const auto part = [&](const std::vector<std::uint64_t>& values) {
      return ConstView{values.data() + first, DType::u64, shape, strides};
    };
    SampleOptions options;
    options.max_threads = max_threads;
    options.random.seed.values = part(random.seeds);
    options.random.position.values = part(random.positions);
    options.random.row_ids = {0, part(random.ids)};
    sample(z.view(), 1, {drawn.data() + first, DType::i64, shape, strides}, options);
  }
  return drawn;
}

template <class T>
void run(const AdaptiveLayer& layer, const AdaptiveClasses& classes, const Randoms& random,
         std::int64_t* out, int max_threads) {
  const std::vector<std::int64_t> entries = draw<T>(head_of(layer), random, max_threads);
  std::ranges::copy(entries, out);
  for (std::int64_t cluster = 0; cluster < classes.clusters(); ++cluster) {
    RowSet rows;
    for (std::size_t r = 0; r < entries.size(); ++r) {
      if (entries[r] == classes.shortlist() + cluster) rows.push_back(static_cast<std::int64_t>(r));
    }
    if (rows.empty()) continue;
    const ClusterRows<T> of(layer, cluster, rows);
    const std::vector<std::int64_t> drawn = draw<T>(of.layer(), random.second(rows), max_threads);
    for (std::size_t i = 0; i < rows.size(); ++i) out[rows[i]] = classes.first(cluster) + drawn[i];
  }
}

}  // namespace

void adaptive_sample(const AdaptiveLayer& layer, const View& indices, const RandomSource& random,
                     int max_threads) {
  const AdaptiveClasses classes(layer);
  const std::array shape = {layer.x.shape[0]};
  check_adaptive_output(indices, "indices", DType::i64, shape, layer);
  const PerRow<std::uint64_t> ids = random.row_ids.value_or(PerRow<std::uint64_t>{});
  for (const auto* values : {&random.seed.values, &random.position.values, &ids.values}) {
    if (*values) check_apart(indices, "indices", {&**values});
  }
  const std::array<std::int64_t, 2> rows = {shape[0], 1};
  const std::array<std::int64_t, 2> strides = {0, 0};
  const Randoms randoms(random, {layer.x.data, layer.x.dtype, rows, strides});
  with_arithmetic(layer, [&]<class T>() {
    run<T>(layer, classes, randoms, static_cast<std::int64_t*>(indices.data), max_threads);
  });
}

}  // namespace fastsoftmax
