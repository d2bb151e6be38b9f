// The plan: a pure function of the problem and the machine. The thresholds are measured and may
// move, so these are relations that hold wherever they lie.
#include "fastsoftmax/plan.hpp"

#include <doctest/doctest.h>

#include "fastsoftmax/tune.hpp"
#include "run.h"

using namespace tests;

namespace {

constexpr fs::Caches kCaches = {32 << 10, 1 << 20, 16 << 20};

fs::Problem rows_of(std::int64_t rows, std::int64_t length, fs::DType dtype = fs::DType::f32,
                    fs::Op op = fs::Op::softmax) {
  fs::Problem p;
  p.op = op;
  p.dtype = dtype;
  p.rows = rows;
  p.row_length = length;
  p.stored_row = dtype == fs::DType::f32 || dtype == fs::DType::f64;
  return p;
}

fs::Plan plan(const fs::Problem& p, fs::Algorithm algorithm = fs::Algorithm::automatic,
              int threads = 1, const fs::Machine& machine = kCaches) {
  return fs::make_plan(p, algorithm, machine, threads);
}

bool same(const fs::Plan& a, const fs::Plan& b) {
  return a.layout == b.layout && a.algorithm == b.algorithm && a.stream == b.stream &&
         a.threads == b.threads && a.share_row == b.share_row &&
         a.rows_per_task == b.rows_per_task && a.tile_columns == b.tile_columns &&
         a.block == b.block && a.scratch_bytes == b.scratch_bytes && a.reason() == b.reason();
}

bool says(const fs::Plan& p, std::string_view part) {
  return p.reason().find(part) != std::string::npos;
}

std::int64_t tasks(const fs::Plan& plan, const fs::Problem& p) {
  const std::int64_t units = plan.share_row ? (p.row_length + plan.block - 1) / plan.block : p.rows;
  return (units + plan.rows_per_task - 1) / plan.rows_per_task;
}

bool reads_least(fs::Algorithm a) {
  return a == fs::Algorithm::two_pass || a == fs::Algorithm::online;
}

template <class F>
void for_each_problem(F&& f) {
  for (const fs::DType dtype : kFloatTypes)
    for (const fs::Op op : kOps)
      for (const fs::Layout layout : {fs::Layout::rows, fs::Layout::columns, fs::Layout::packed})
        for (const std::int64_t rows : {0, 1, 3, 64, 100000})
          for (const std::int64_t length : {0, 1, 10, 1000, 300000, 30000000})
            for (const bool in_place : {false, true}) {
              fs::Problem p = rows_of(rows, length, dtype, op);
              p.layout = layout;
              p.columns = layout == fs::Layout::columns ? std::max<std::int64_t>(rows, 1) : 1;
              p.in_place = in_place;
              p.stored_row = p.stored_row && layout != fs::Layout::packed;
              f(p);
            }
}

}  // namespace

TEST_CASE("plan: pure, complete and in range, for every kind of problem") {
  Tally tally;
  for_each_problem([&](const fs::Problem& p) {
    for (const int threads : {1, 2, 7, 64}) {
      for (const fs::Algorithm requested :
           {fs::Algorithm::automatic, fs::Algorithm::three_pass_reload, fs::Algorithm::two_pass}) {
        const fs::Plan a = plan(p, requested, threads);
        const bool in_range =
            same(a, plan(p, requested, threads)) && a.layout == p.layout &&
            a.algorithm != fs::Algorithm::automatic && a.threads >= 1 && a.threads <= threads &&
            a.rows_per_task >= 1 && a.tile_columns >= 1 && a.tile_columns <= p.columns &&
            a.tile_columns <= fs::kernels::kMaxTileColumns &&
            a.block == static_cast<std::int64_t>(block_of(p.dtype)) && a.scratch_bytes >= 0 &&
            !(a.share_row && p.layout == fs::Layout::columns);
        const bool told = says(a, "algorithm: ") && a.stream == says(a, "bypass the cache") &&
                          a.share_row == says(a, "threads share each row") &&
                          (a.threads > 1) == says(a, "threads");
        tally.expect(in_range && told, [&] {
          return std::string(fs::name(p.op)) + " " + std::string(fs::name(p.dtype)) + " " +
                 std::string(fs::name(p.layout)) + " " + std::to_string(p.rows) + " x " +
                 std::to_string(p.row_length) + ", " + std::to_string(threads) +
                 " threads: " + a.reason();
        });
      }
    }
  });
  CHECK(tally.checked() == 4 * 3 * 3 * 5 * 6 * 2 * 12);
}

TEST_CASE("plan: rows in cache compute one exponential per element, longer ones read least") {
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64}) {
    bool left_cache = false;
    for (std::int64_t length = 16; length < (std::int64_t{1} << 32); length *= 2) {
      const fs::Plan p = plan(rows_of(4, length, dtype));
      const bool least = reads_least(p.algorithm);
      if (!least) CHECK(p.algorithm == fs::Algorithm::online_reload);
      CHECK_MESSAGE(!(left_cache && !least), "goes back at length ", length);
      left_cache = least;
      if (length * fs::itemsize(dtype) <= kCaches.l1) CHECK(!least);
      if (length * fs::itemsize(dtype) > 64 * kCaches.last_level) CHECK(least);
    }
    CHECK(left_cache);
  }
  for (const fs::Op op : {fs::Op::log_softmax, fs::Op::logsumexp}) {
    CHECK(plan(rows_of(4, 1000, fs::DType::f32, op)).algorithm == fs::Algorithm::online);
    CHECK(!reads_least(plan(rows_of(4, 2000, fs::DType::f32, op)).algorithm));
    CHECK(reads_least(plan(rows_of(4, 1 << 26, fs::DType::f32, op)).algorithm));
  }
}

TEST_CASE("plan: larger caches keep longer rows") {
  for (std::int64_t length = 16; length < (1 << 28); length *= 2) {
    fs::Caches large = kCaches;
    large.l2 *= 8;
    large.last_level *= 8;
    const fs::Problem p = rows_of(4, length);
    if (!reads_least(plan(p).algorithm))
      CHECK(!reads_least(plan(p, fs::Algorithm::automatic, 1, large).algorithm));
    if (!plan(p).stream) CHECK(!plan(p, fs::Algorithm::automatic, 1, large).stream);
  }
}

TEST_CASE("plan: what is asked for is done") {
  for_each_problem([&](const fs::Problem& p) {
    for (const fs::Algorithm asked : kAlgorithms) {
      const fs::Plan a = plan(p, asked);
      if (a.algorithm == asked) {
        CHECK(says(a, "as requested"));
        continue;
      }
      if (asked == fs::Algorithm::three_pass_reload) {
        CHECK(a.algorithm == fs::Algorithm::three_pass_recompute);
        CHECK(!p.stored_row);
        CHECK(says(a, "stay in cache"));
        continue;
      }
      CHECK(asked == fs::Algorithm::online_reload);
      if (p.op != fs::Op::softmax) {
        CHECK(a.algorithm == fs::Algorithm::online);
        CHECK(says(a, "logarithm"));
      } else if (p.layout == fs::Layout::columns) {
        CHECK((a.algorithm == fs::Algorithm::three_pass_reload ||
               (a.algorithm == fs::Algorithm::three_pass_recompute && says(a, "stay in cache"))));
      } else if (p.in_place && p.stored_row) {
        CHECK(a.algorithm == fs::Algorithm::three_pass_reload);
        CHECK(says(a, "in place"));
      } else {
        CHECK(a.algorithm == fs::Algorithm::online);
        CHECK(!p.stored_row);
        CHECK(says(a, "stay in cache"));
      }
    }
  });
}

TEST_CASE("plan: 16-bit rows keep exponentials where they stay in cache") {
  for (const fs::DType dtype : {fs::DType::f16, fs::DType::bf16}) {
    const std::int64_t longest = kCaches.last_level / 8 / 4;
    const fs::Plan fits = plan(rows_of(8, longest, dtype), fs::Algorithm::three_pass_reload);
    CHECK(fits.algorithm == fs::Algorithm::three_pass_reload);
    CHECK(fits.scratch_bytes == kCaches.last_level / 8);
    const fs::Plan longer = plan(rows_of(8, longest + 1, dtype), fs::Algorithm::three_pass_reload);
    CHECK(longer.algorithm == fs::Algorithm::three_pass_recompute);
    CHECK(longer.scratch_bytes == 0);
    CHECK(says(longer, "recomputes"));
    CHECK(plan(rows_of(8, longest + 1, dtype)).algorithm != fs::Algorithm::three_pass_reload);
  }
  for_each_problem([&](const fs::Problem& p) {
    const fs::Plan a = plan(p);
    CHECK(a.scratch_bytes <= kCaches.last_level / (a.rows_in_flight > 1 ? 3 : 8));
    if (p.stored_row && p.layout != fs::Layout::columns && a.rows_in_flight == 1)
      CHECK(a.scratch_bytes == 0);
  });
}

TEST_CASE("plan: two rows in flight on the way to memory") {
  const fs::Plan a = plan(rows_of(8192, 4096));
  CHECK(a.algorithm == fs::Algorithm::online_reload);
  CHECK(a.rows_in_flight == 2);
  CHECK(a.stream);
  CHECK(a.scratch_bytes >= 2 * 4096 * 4);
  CHECK(plan(rows_of(8, 4096)).rows_in_flight == 1);
  CHECK(plan(rows_of(8, 4096, fs::DType::bf16)).rows_in_flight == 2);
  CHECK(plan(rows_of(1, 4096, fs::DType::bf16)).rows_in_flight == 1);
  CHECK(plan(rows_of(32768, 1024)).rows_in_flight == 1);
  const fs::Problem long_rows = rows_of(64, 1 << 17, fs::DType::f16);
  CHECK(plan(long_rows, fs::Algorithm::automatic, 2).rows_per_task == 4);
  CHECK(plan(rows_of(4, 1 << 17, fs::DType::f16), fs::Algorithm::automatic, 2).rows_per_task == 2);
  for_each_problem([&](const fs::Problem& p) {
    const fs::Plan b = plan(p);
    if (b.rows_in_flight == 1) return;
    CHECK((b.algorithm == fs::Algorithm::online_reload ||
           (b.algorithm == fs::Algorithm::online && p.op == fs::Op::log_softmax)));
    CHECK(b.layout == fs::Layout::rows);
    CHECK(!b.share_row);
    CHECK((b.scratch_bytes > 0) == (p.op == fs::Op::softmax));
  });
}

TEST_CASE("plan: stores bypass the cache only where the arrays outgrow it") {
  CHECK(plan(rows_of(1, 1 << 26), fs::Algorithm::online).stream);
  CHECK(plan(rows_of(100000, 2000), fs::Algorithm::two_pass).stream);
  for_each_problem([&](fs::Problem p) {
    for (const fs::Algorithm asked : kAlgorithms) {
      const fs::Plan a = plan(p, asked);
      if (!a.stream) continue;
      CHECK(2 * p.rows * p.row_length * fs::itemsize(p.dtype) >= kCaches.last_level);
      CHECK(p.op != fs::Op::logsumexp);
      CHECK((p.layout == fs::Layout::rows ||
             (p.layout == fs::Layout::columns && p.op == fs::Op::softmax)));
      // What is read again soon stays: x, and stored exponentials.
      CHECK(!p.in_place);
      if (a.algorithm == fs::Algorithm::three_pass_reload)
        CHECK((a.scratch_bytes > 0 || p.row_length <= a.block));
      // Short rows share lines.
      if (p.layout == fs::Layout::rows) CHECK(2 * p.row_length > a.block);
      if (p.layout == fs::Layout::columns) CHECK((a.scratch_bytes > 0 || p.row_length <= 64));
    }
  });
}

TEST_CASE("plan: gradients, which read two arrays, stream from half of that size on") {
  const auto streams = [](fs::Problem p) {
    p.inputs = 2;
    return plan(p, fs::Algorithm::online).stream;
  };
  for_each_problem([&](const fs::Problem& p) {
    if (!streams(p)) return;
    CHECK(2 * p.rows * p.row_length * fs::itemsize(p.dtype) >= kCaches.last_level);
    CHECK(p.layout != fs::Layout::packed);
    CHECK(p.op != fs::Op::logsumexp);
    CHECK(!p.in_place);
  });
  const auto rows_at = [](std::int64_t size, std::int64_t length) {
    return size / (length * fs::itemsize(fs::DType::f32));
  };
  const std::int64_t half = kCaches.last_level / 2;
  CHECK(streams(rows_of(rows_at(half, 2048), 2048)));
  CHECK(!streams(rows_of(rows_at(half, 2048) - 1, 2048)));
  // Those of a single block only in softmax, short ones never, unless they are columns.
  CHECK(streams(rows_of(rows_at(half, 1024), 1024)));
  CHECK(!streams(rows_of(rows_at(half, 1024), 1024, fs::DType::f32, fs::Op::log_softmax)));
  fs::Problem p = rows_of(1 << 24, 100);
  CHECK(!streams(p));
  p.layout = fs::Layout::columns;
  p.columns = p.rows;
  CHECK(streams(p));
}

TEST_CASE("plan: threads") {
  for (const int threads : {2, 8, 64}) {
    const fs::Problem long_row = rows_of(1, 1 << 27);
    const fs::Plan shared = plan(long_row, fs::Algorithm::automatic, threads);
    CHECK(shared.share_row);
    CHECK(shared.threads == threads);
    CHECK(tasks(shared, long_row) >= threads);
    const fs::Problem many_rows = rows_of(100000, 1000);
    const fs::Plan by_row = plan(many_rows, fs::Algorithm::automatic, threads);
    CHECK(!by_row.share_row);
    CHECK(by_row.threads == threads);
    CHECK(tasks(by_row, many_rows) >= threads);
    CHECK(plan(rows_of(10, 10), fs::Algorithm::automatic, threads).threads == 1);
    // Rows too short to be cut, however few.
    CHECK(!plan(rows_of(3, 300), fs::Algorithm::automatic, threads).share_row);
  }
  // More work never means fewer threads.
  int last = 1;
  for (std::int64_t rows = 1; rows < 1000000; rows *= 2) {
    const int used = plan(rows_of(rows, 1000), fs::Algorithm::automatic, 16).threads;
    CHECK(used >= last);
    last = used;
  }
  CHECK(last == 16);
}

TEST_CASE("plan: each constant moves its own threshold and nothing else") {
  const auto machine = [](std::int64_t fs::PlanConstants::* constant, std::int64_t value) {
    fs::Machine m = kCaches;
    m.constants.*constant = value;
    return m;
  };
  const auto algorithm = [](const fs::Problem& p, const fs::Machine& m, int threads = 1) {
    return plan(p, fs::Algorithm::automatic, threads, m).algorithm;
  };
  const fs::Problem row = rows_of(4, 1 << 22);  // x and y of a row take 32 MiB
  constexpr std::int64_t kRow = 32 << 20;
  using Constants = fs::PlanConstants;
  CHECK(algorithm(row, machine(&Constants::reload_bytes, kRow)) == fs::Algorithm::online_reload);
  CHECK(algorithm(row, machine(&Constants::reload_bytes, kRow - 1)) == fs::Algorithm::online);
  const auto parallel = [&](std::int64_t value) {
    return algorithm(row, machine(&Constants::parallel_reload_bytes, value), 4);
  };
  CHECK(parallel(4 * kRow) == fs::Algorithm::online_reload);
  CHECK(parallel(4 * kRow - 1) == fs::Algorithm::online);
  CHECK(algorithm(row, machine(&Constants::parallel_reload_bytes, 0)) ==
        algorithm(row, kCaches));  // one thread
  // A row in L2 is no threshold's business.
  CHECK(algorithm(rows_of(10000, 1 << 15), machine(&Constants::reload_bytes, 0)) ==
        fs::Algorithm::online_reload);

  const fs::Problem log = rows_of(8, 1 << 14, fs::DType::f32, fs::Op::log_softmax);  // 128 KiB
  const fs::Problem logs = rows_of(8000, 1 << 14, fs::DType::f32, fs::Op::log_softmax);
  const auto recompute = [&](const fs::Problem& p, std::int64_t value) {
    return algorithm(p, machine(&Constants::recompute_bytes, value)) ==
           fs::Algorithm::three_pass_recompute;
  };
  CHECK(recompute(log, 128 << 10));
  CHECK(!recompute(log, (128 << 10) - 1));
  CHECK(recompute(logs, 512 << 10));
  CHECK(!recompute(logs, (512 << 10) - 1));

  const auto stream = [&](std::int64_t value) {
    return plan(log, fs::Algorithm::automatic, 1, machine(&Constants::stream_bytes, value)).stream;
  };
  CHECK(stream((512 << 10) - 1));
  CHECK(!stream(512 << 10));

  const auto threads = [&](std::int64_t value) {
    const fs::Machine m = machine(&Constants::elements_per_thread, value);
    return plan(log, fs::Algorithm::automatic, 16, m).threads;
  };
  CHECK(threads(1 << 16) == 2);
  CHECK(threads((1 << 16) + 1) == 1);
  CHECK(threads(1 << 14) == 8);
}

TEST_CASE("plan: explain is make_plan of this machine") {
  const Array x = dense(fs::DType::f32, {50, 700});
  Array out = dense(fs::DType::f32, {50, 700});
  const std::array axes = {1};
  const fs::Plan explained = fs::explain(fs::Op::softmax, x.view(), out.out(), axes);
  CHECK(same(explained, fs::make_plan(rows_of(50, 700), fs::Algorithm::automatic, fs::machine(),
                                      explained.threads)));
  fs::View nowhere = out.out();
  nowhere.data = nullptr;
  CHECK(same(explained, fs::explain(fs::Op::softmax, x.view(), nowhere, axes)));

  const std::array first = {0};
  const fs::Plan columns = fs::explain(fs::Op::softmax, x.view(), out.out(), first);
  CHECK(columns.layout == fs::Layout::columns);
  const std::array both = {0, 1};
  CHECK(fs::explain(fs::Op::softmax, x.view(), out.out(), both).layout == fs::Layout::rows);
  fs::Options options;
  options.temperature = 2.0;
  CHECK(fs::explain(fs::Op::softmax, x.view(), out.out(), axes, options).layout ==
        fs::Layout::packed);
  CHECK(fs::name(fs::Layout::rows) == "rows");
  CHECK(fs::name(fs::Layout::columns) == "columns");
  CHECK(fs::name(fs::Layout::packed) == "packed");
}
