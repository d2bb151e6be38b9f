// One row of f32, again and again: the passes that the algorithms are made of, the algorithms
// themselves, and what the memory gives. Rows that fit in a cache stay there.
// pass/<isa>/<pass>/<elements>              one thread; bytes_per_second counts what the pass reads
//                                           and writes
// row/<isa>/<algorithm>/one_thread/<...>    the kernel; with _stream its stores bypass the cache
// row/<isa>/<algorithm>/all_threads/<...>   the public interface, whose plan decides on streaming
// ceiling/<read, memset or memcpy>/<...>
// two_pass_paper.py makes tables and plots of the results.
#include "rows.h"

namespace fastsoftmax::bench {
namespace {

constexpr std::int64_t kItem = sizeof(float);

enum class Step : std::uint8_t { scan, accumulate, write };

struct Pass {
  const char* name;
  Algorithm algorithm;
  Step step;
  bool stream;
  int moves;  // times the row is read or written
};

// What is not here is the same code: two_pass and online write as three_pass_recompute does.
constexpr Pass kPasses[] = {
    {"max", Algorithm::three_pass_recompute, Step::scan, false, 1},
    {"sum", Algorithm::three_pass_recompute, Step::accumulate, false, 1},
    {"sum_store", Algorithm::three_pass_reload, Step::accumulate, false, 2},
    {"sum_two_pass", Algorithm::two_pass, Step::accumulate, false, 1},
    {"sum_online", Algorithm::online, Step::accumulate, false, 1},
    {"sum_store_online", Algorithm::online_reload, Step::accumulate, false, 2},
    {"write", Algorithm::three_pass_recompute, Step::write, false, 2},
    {"write_stream", Algorithm::three_pass_recompute, Step::write, true, 2},
    {"write_stored", Algorithm::three_pass_reload, Step::write, false, 2},
    {"write_stored_online", Algorithm::online_reload, Step::write, false, 2},
};

Rows row_of(Algorithm algorithm, bool stream, std::int64_t length) {
  return {Op::softmax, DType::f32, algorithm, stream, 1, length};
}

void run_pass(benchmark::State& state, Isa isa, const Pass& pass, std::int64_t length) {
  const kernels::RowKernels& kernel = kernels_of(isa).f32;
  const Rows row = row_of(pass.algorithm, pass.stream, length);
  const char* const x = logits(DType::f32, length);
  char* const y = results(length * kItem);
  const kernels::RowsJob job = row.job(x, y);
  const std::int64_t blocks = (length + kernels::kBlockF32 - 1) / kernels::kBlockF32;
  std::vector<kernels::BlockSum> sums(static_cast<std::size_t>(blocks));
  const kernels::RowScan scan = kernel.scan(job, 0, blocks);
  kernel.accumulate(job, scan, 0, blocks, sums.data());
  const kernels::RowState finished = kernel.finish(job, sums.data(), blocks);
  kernel.write(job, finished, 0, blocks);
  if (!row.is_right(x, y)) return state.SkipWithError("the result is wrong");

  const auto time = [&](auto&& once) { measure(state, length, pass.moves * length * kItem, once); };
  switch (pass.step) {
    case Step::scan:
      return time([&] { benchmark::DoNotOptimize(kernel.scan(job, 0, blocks)); });
    case Step::accumulate:
      return time([&] { kernel.accumulate(job, scan, 0, blocks, sums.data()); });
    case Step::write:
      return time([&] { kernel.write(job, finished, 0, blocks); });
  }
}

void run_row(benchmark::State& state, Isa isa, const Rows& row, int threads) {
  const kernels::RowKernels& kernel = kernels_of(isa).f32;
  const char* const x = logits(DType::f32, row.length);
  char* const y = results(row.length * kItem);
  const kernels::RowsJob job = row.job(x, y);
  const auto once = [&] { threads == 1 ? kernel.rows(job) : row.run_public(x, y, threads); };
  once();
  if (!row.is_right(x, y)) return state.SkipWithError("the result is wrong");
  measure(state, row.length, 2 * row.length * kItem, once,
          threads == 1 ? kThreadTime : kElapsedTime);
}

void add_isa(Isa isa, std::int64_t length) {
  const auto add = [&](std::initializer_list<std::string_view> parts, auto&& body) {
    benchmark::RegisterBenchmark(path(parts, length).c_str(), body);
  };
  for (const Pass& pass : kPasses)
    add({"pass", name(isa), pass.name},
        [=](benchmark::State& state) { run_pass(state, isa, pass, length); });
  for (const Algorithm algorithm : kAlgorithms) {
    const std::string plain(name(algorithm));
    const auto add_row = [&](const std::string& shown, const char* who, bool stream, int threads) {
      const Rows row = row_of(algorithm, stream, length);
      add({"row", name(isa), shown, who},
          [=](benchmark::State& state) { run_row(state, isa, row, threads); });
    };
    add_row(plain, "one_thread", false, 1);
    if (!reloads(algorithm)) add_row(plain + "_stream", "one_thread", true, 1);
    if (num_threads() > 1) add_row(plain, "all_threads", false, num_threads());
  }
}

void add_ceilings(std::int64_t length) {
  const std::int64_t bytes = length * kItem;
  const auto add = [=](const char* what, std::int64_t moves, auto&& once) {
    benchmark::RegisterBenchmark(path({"ceiling", what}, length).c_str(),
                                 [=](benchmark::State& state) {
                                   const char* const x = logits(DType::f32, length);
                                   char* const y = results(bytes);
                                   measure(state, length, moves * bytes, [=] { once(x, y); });
                                 });
  };
  const auto size = static_cast<std::size_t>(bytes);
  add("read", 1, [=](const char* x, char*) { benchmark::DoNotOptimize(read_all(x, bytes)); });
  add("memset", 1, [=](const char*, char* y) { std::memset(y, 0, size); });
  add("memcpy", 2, [=](const char* x, char* y) { std::memcpy(y, x, size); });
}

void add_all(int max_log2) {
  for (int log2 = 10; log2 <= max_log2; ++log2) {
    const std::int64_t length = std::int64_t{1} << log2;
    for (const Isa isa : isas_supported()) add_isa(isa, length);
    add_ceilings(length);
  }
}

}  // namespace
}  // namespace fastsoftmax::bench

int main(int argc, char** argv) {
  return fastsoftmax::bench::run_benchmarks(argc, argv, fastsoftmax::bench::add_all);
}
