// <op>/<dtype>/<isa>/<algorithm>/<where>/<row length>: contiguous rows on one thread.
//   op         softmax; log_softmax and logsumexp for fewer types and lengths
//   algorithm  one of the five, straight through the kernel table; with _stream its stores bypass
//              the cache; auto is the public interface with the plan's choice
//   where      cache: as many rows as fit in L2 with their results, or one that fits in the last
//              level; memory: as many as exceed the last level, or one
// memcpy/<dtype>/<where>/<elements> and read/<dtype>/<where>/<elements> are the ceilings: they move
// the same bytes, or only read them.
#include "rows.h"

namespace fastsoftmax::bench {
namespace {

enum class Where : std::uint8_t { cache, memory };

const char* name(Where where) { return where == Where::cache ? "cache" : "memory"; }

// Elements of a batch of rows, a power of two: x and y fill half of L2, or x twice the last level.
std::int64_t batch_elements(Where where, DType dtype) {
  const std::int64_t bytes = where == Where::cache ? caches().l2 / 4 : 2 * caches().last_level;
  return static_cast<std::int64_t>(
      std::bit_floor(static_cast<std::uint64_t>(bytes / itemsize(dtype))));
}

// Of a power of two.
int log2_of(std::int64_t n) { return std::countr_zero(static_cast<std::uint64_t>(n)); }

// Lengths from 2^first on of which a row alone is where it should be.
std::vector<std::int64_t> lengths_in(Where where, DType dtype, int first, int max_log2) {
  std::vector<std::int64_t> found = lengths(first, max_log2);
  if (where == Where::cache) {
    const std::int64_t longest = caches().last_level / 4 / itemsize(dtype);
    std::erase_if(found, [=](std::int64_t length) { return length > longest; });
  }
  return found;
}

struct Case {
  Rows rows;
  Isa isa;
  Where where;

  std::string name() const {
    const std::string suffix = rows.stream ? "_stream" : "";
    return path({fastsoftmax::name(rows.op), short_name(rows.dtype), fastsoftmax::name(isa),
                 std::string(fastsoftmax::name(rows.algorithm)) + suffix, bench::name(where)},
                rows.length);
  }
};

void run(benchmark::State& state, const Case& c) {
  const kernels::KernelTable& table = kernels_of(c.isa);
  const Rows& r = c.rows;
  const char* const x = logits(r.dtype, r.elements());
  char* const y = results(r.result_bytes());
  const std::int64_t bytes = r.elements() * itemsize(r.dtype) + r.result_bytes();
  if (r.algorithm == Algorithm::automatic)
    return measure(state, r.elements(), bytes, [&] { r.run_public(x, y, 1); });

  const kernels::RowKernels& kernel = row_kernels(table, r.dtype);
  const kernels::RowsJob job = r.job(x, y);
  kernel.rows(job);
  if (!r.is_right(x, y)) return state.SkipWithError("the result is wrong");
  measure(state, r.elements(), bytes, [&] { kernel.rows(job); });
}

void add(const Case& c) {
  // The logarithmic operations need no exponentials; logsumexp stores nothing.
  if (c.rows.op != Op::softmax && c.rows.algorithm == Algorithm::online_reload) return;
  if (c.rows.op == Op::logsumexp && reloads(c.rows.algorithm)) return;
  benchmark::RegisterBenchmark(c.name().c_str(), [c](benchmark::State& state) { run(state, c); });
}

// Whether stores may bypass the cache: not where the output row holds exponentials, which are read
// again at once. Rows of a single block have a buffer for them.
bool may_stream(const Rows& r) {
  if (r.op == Op::logsumexp) return false;
  return !reloads(r.algorithm) || !r.stored_row() || r.length <= r.block();
}

void add_length(Op op, DType dtype, Where where, std::int64_t length) {
  const std::int64_t rows = std::max<std::int64_t>(1, batch_elements(where, dtype) / length);
  for (const Isa isa : isas_supported()) {
    add({{op, dtype, Algorithm::automatic, false, rows, length}, isa, where});
    for (const Algorithm algorithm : kAlgorithms) {
      const Rows kept{op, dtype, algorithm, false, rows, length};
      add({kept, isa, where});
      Rows streamed = kept;
      streamed.stream = true;
      if (may_stream(streamed)) add({streamed, isa, where});
    }
  }
}

void add_ceilings(DType dtype, Where where, int max_log2) {
  const auto add_one = [=](const char* what, std::int64_t count, auto&& body) {
    benchmark::RegisterBenchmark(path({what, short_name(dtype), name(where)}, count).c_str(), body);
  };
  const int batch_log2 = log2_of(batch_elements(where, dtype));
  for (const std::int64_t count :
       lengths_in(where, dtype, batch_log2, std::max(batch_log2, max_log2))) {
    const std::int64_t bytes = count * itemsize(dtype);
    add_one("memcpy", count, [=](benchmark::State& state) {
      const char* const x = logits(dtype, count);
      char* const y = results(bytes);
      measure(state, count, 2 * bytes, [=] { std::memcpy(y, x, static_cast<std::size_t>(bytes)); });
    });
    add_one("read", count, [=](benchmark::State& state) {
      const char* const x = logits(dtype, count);
      measure(state, count, bytes, [=] { benchmark::DoNotOptimize(read_all(x, bytes)); });
    });
  }
}

void add_all(int max_log2) {
  for (const Where where : {Where::cache, Where::memory}) {
    for (const DType dtype : kTypes) {
      for (const std::int64_t length : lengths_in(where, dtype, 4, max_log2))
        add_length(Op::softmax, dtype, where, length);
      add_ceilings(dtype, where, max_log2);
    }
    for (const Op op : {Op::log_softmax, Op::logsumexp}) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        for (const std::int64_t length : lengths_in(where, dtype, 6, max_log2)) {
          if (log2_of(length) % 6 == 0) add_length(op, dtype, where, length);
        }
      }
    }
  }
}

}  // namespace
}  // namespace fastsoftmax::bench

int main(int argc, char** argv) {
  return fastsoftmax::bench::run_benchmarks(argc, argv, fastsoftmax::bench::add_all);
}
