// Softmax and its five largest elements, the experiment of Milakov and Gimelshein (2018, section
// 5.2): a softmax that is written out and then searched (unfused), and softmax_topk, which writes
// only what it selects (fused). f32, one thread.
// <variant>/<batch>/<elements of a row>
// A batch whose logits and probabilities exceed 2 GB is cut to the rows that do not; `rows` says
// how many they are. online_paper.py makes a table and a plot of the results.
#include "fastsoftmax/topk.hpp"
#include "rows.h"

namespace fastsoftmax::bench {
namespace {

constexpr std::int64_t kItem = sizeof(float);
constexpr std::int64_t kMostBytes = 2'000'000'000;
constexpr std::int64_t kK = 5;
constexpr std::int64_t kBatches[] = {10, 4000};
constexpr std::int64_t kLengths[] = {1'000,  2'500,   5'000,   10'000,  25'000,
                                     50'000, 100'000, 250'000, 500'000, 1'000'000};

struct Found {
  std::vector<float> values;
  std::vector<std::int64_t> indices;

  explicit Found(std::int64_t rows)
      : values(static_cast<std::size_t>(rows * kK)), indices(values.size()) {}
  bool operator==(const Found&) const = default;
};

// Logits, and memory for their probabilities.
struct Batch {
  std::int64_t rows;
  std::int64_t length;
  const char* x = logits(DType::f32, rows* length);
  char* y = results(rows * length * kItem);

  void unfused(Algorithm algorithm, Found& found) const {
    Rows{Op::softmax, DType::f32, algorithm, false, rows, length}.run_public(x, y, 1);
    select(y, found, [](auto&&... arguments) { topk(arguments..., true, 1); });
  }

  void fused(Found& found) const {
    TopKOptions options;
    options.max_threads = 1;
    select(x, found, [&](auto&&... arguments) { softmax_topk(arguments..., options); });
  }

  // The library has no kernel of its own for this: the maximum pass of the three-pass algorithms,
  // then the fused kernel, which would not have needed it. Rows of one block go through both
  // several at a time, as that kernel takes them.
  void fused_after_maximum(const kernels::KernelTable& table, Found& found) const {
    static Memory memory;
    const std::int64_t blocks = (length + kernels::kBlockF32 - 1) / kernels::kBlockF32;
    const std::int64_t group =
        std::clamp<std::int64_t>(4 * kernels::kBlockF32 / length, 1, blocks > 1 ? 1 : 16);
    const Rows row{Op::softmax, DType::f32, Algorithm::three_pass_recompute, false, 1, length};
    kernels::TopkJob job{};
    std::int64_t regular[16];
    job.outcome = kernels::TopkOutcome::softmax;
    job.k = kK;
    job.regular = regular;
    job.workspace = memory.at_least(table.topk.f32.workspace_bytes(length, kK));
    for (std::int64_t first = 0; first < rows; first += group) {
      const std::int64_t last = std::min(rows, first + group);
      for (std::int64_t r = first; r < last; ++r)
        benchmark::DoNotOptimize(
            table.f32.scan(row.job(x + r * length * kItem, nullptr), 0, blocks));
      job.rows = row.job(x + first * length * kItem, nullptr);
      job.rows.rows = last - first;
      job.values = found.values.data() + first * kK;
      job.indices = found.indices.data() + first * kK;
      table.topk.f32.rows(job);
    }
  }

 private:
  template <class Call>
  void select(const char* from, Found& found, Call&& call) const {
    const std::array shape{rows, length};
    const std::array out_shape{rows, kK};
    const std::array in_strides{length * kItem, kItem};
    const std::array value_strides{kK * kItem, kItem};
    constexpr std::int64_t index = sizeof(std::int64_t);
    const std::array index_strides{kK * index, index};
    call(ConstView{from, DType::f32, shape, in_strides}, kK, 1,
         View{found.values.data(), DType::f32, out_shape, value_strides},
         View{found.indices.data(), DType::i64, out_shape, index_strides});
  }
};

enum class Variant : std::uint8_t { unfused, fused_after_maximum, fused };

struct Contestant {
  const char* name;
  Variant variant;
  Algorithm algorithm;  // of an unfused softmax
};

constexpr Contestant kContestants[] = {
    {"safe_unfused", Variant::unfused, Algorithm::three_pass_recompute},
    {"safe_reload_unfused", Variant::unfused, Algorithm::three_pass_reload},
    {"safe_fused", Variant::fused_after_maximum, Algorithm::three_pass_recompute},
    {"online_unfused", Variant::unfused, Algorithm::online},
    {"online_reload_unfused", Variant::unfused, Algorithm::online_reload},
    {"online_fused", Variant::fused, Algorithm::online},
};

void run(benchmark::State& state, const Contestant& contestant, std::int64_t rows,
         std::int64_t length) {
  const kernels::KernelTable& table = kernels_of(isas_supported().front());
  const Batch batch{rows, length};
  Found found(rows);
  const auto once = [&] {
    switch (contestant.variant) {
      case Variant::unfused:
        return batch.unfused(contestant.algorithm, found);
      case Variant::fused_after_maximum:
        return batch.fused_after_maximum(table, found);
      case Variant::fused:
        return batch.fused(found);
    }
  };
  once();
  Found expected(rows);
  batch.fused(expected);
  if (found != expected) return state.SkipWithError("the result is wrong");
  measure(state, rows * length, rows * length * kItem, once);
  state.counters["rows"] = static_cast<double>(rows);
}

void add_all(int max_log2) {
  for (const std::int64_t batch : kBatches) {
    for (const std::int64_t length : kLengths) {
      if (length > std::int64_t{1} << max_log2) continue;
      const std::int64_t rows = std::min(batch, kMostBytes / (2 * length * kItem));
      for (const Contestant& contestant : kContestants)
        benchmark::RegisterBenchmark(
            path({contestant.name, std::to_string(batch)}, length).c_str(),
            [=](benchmark::State& state) { run(state, contestant, rows, length); });
    }
  }
}

}  // namespace
}  // namespace fastsoftmax::bench

int main(int argc, char** argv) {
  return fastsoftmax::bench::run_benchmarks(argc, argv, fastsoftmax::bench::add_all);
}
