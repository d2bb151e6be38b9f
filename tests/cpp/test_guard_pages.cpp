// No element is read or written beyond the ends of a row: rows lie against pages that may not be
// touched.
#include <sys/mman.h>
#include <unistd.h>

#include "fastsoftmax/backward.hpp"
#include "fastsoftmax/cross_entropy.hpp"
#include "fastsoftmax/gumbel_softmax.hpp"
#include "fastsoftmax/sampling.hpp"
#include "fastsoftmax/topk.hpp"
#include "run.h"
#include "tree_layers.h"

using namespace tests;

namespace {

// Memory between two pages without any access.
class Fenced {
 public:
  explicit Fenced(std::size_t size) : page_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))) {
    size_ = (size + page_ - 1) / page_ * page_;
    void* const p = mmap(nullptr, size_ + 2 * page_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(p != MAP_FAILED);
    base_ = static_cast<unsigned char*>(p);
    REQUIRE(mprotect(base_ + page_, size_, PROT_READ | PROT_WRITE) == 0);
  }
  ~Fenced() { munmap(base_, size_ + 2 * page_); }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;

  // `bytes` that begin right behind the first fence, or end right before the second.
  unsigned char* first(std::size_t) const { return base_ + page_; }
  unsigned char* last(std::size_t bytes) const { return base_ + page_ + size_ - bytes; }

 private:
  std::size_t page_;
  std::size_t size_ = 0;
  unsigned char* base_ = nullptr;
};

struct Memory {
  Fenced x{32768};
  Fenced y{32768};
  Fenced where{4096};
};

// Runs rows of the given strides at both ends of the memory.
void run(const Memory& memory, fs::Op op, fs::DType dtype, fs::Algorithm algorithm,
         std::int64_t rows, std::int64_t n, Layout layout, bool masked, Tally& tally) {
  const Array shape = matrix(dtype, rows, n, layout);
  Array out_shape = matrix(dtype, rows, op == fs::Op::logsumexp ? 1 : n, layout);
  std::vector<double> values(static_cast<std::size_t>(rows * n));
  Random random(static_cast<std::uint64_t>(n));
  for (double& v : values) v = random.normal();
  Array x = shape;
  from_dense(x, encode(dtype, values));
  const std::array axes = {1};
  fs::Options options = with(algorithm);
  for (const bool at_end : {false, true}) {
    const auto place = [&](const Fenced& fenced, std::size_t bytes) {
      return at_end ? fenced.last(bytes) : fenced.first(bytes);
    };
    unsigned char* const px = place(memory.x, x.bytes.size());
    std::copy(x.bytes.begin(), x.bytes.end(), px);
    unsigned char* const py = place(memory.y, out_shape.bytes.size());
    const Shape where_shape = {1, n};
    const Shape where_strides = {0, 1};
    if (masked) {
      unsigned char* const pw = place(memory.where, static_cast<std::size_t>(n));
      std::fill_n(pw, n, static_cast<unsigned char>(1));
      options.where = fs::ConstView{pw, fs::DType::boolean, where_shape, where_strides};
    }
    apply(op, {px, dtype, x.shape, x.strides}, {py, dtype, out_shape.shape, out_shape.strides},
          axes, options);
    std::copy_n(py, out_shape.bytes.size(), out_shape.bytes.begin());
    const auto last = get(dtype, &to_dense(out_shape)[0]);
    tally.expect(std::isfinite(last), [&] { return describe(op, dtype, algorithm); });
  }
}

}  // namespace

TEST_CASE("guard pages: rows of every length to 300, and of several blocks") {
  const Memory memory;
  Tally tally;
  for_each_case([&](fs::DType dtype, fs::Op op, fs::Algorithm algorithm) {
    for (std::int64_t n = 1; n <= 300; ++n)
      run(memory, op, dtype, algorithm, 1, n, Layout::rows, false, tally);
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    for (std::int64_t n = block - 2; n <= block + 17; ++n)
      run(memory, op, dtype, algorithm, 1, n, Layout::rows, false, tally);
    for (const std::int64_t rows : {2, 3, 8, 17})
      for (std::int64_t n = 1; n <= 70; ++n)
        run(memory, op, dtype, algorithm, rows, n, Layout::rows, false, tally);
  });
  CHECK(tally.checked() == kCases * (300 + 20 + 280) * 2);
}

TEST_CASE("guard pages: gathered rows and columns") {
  const Memory memory;
  Tally tally;
  for_each_case([&](fs::DType dtype, fs::Op op, fs::Algorithm algorithm) {
    for (std::int64_t n = 1; n <= 70; ++n) {
      run(memory, op, dtype, algorithm, 1, n, Layout::every_second, false, tally);
      run(memory, op, dtype, algorithm, 2, n, Layout::rows, true, tally);
      for (const std::int64_t rows : {2, 5, 16, 19})
        run(memory, op, dtype, algorithm, rows, n, Layout::columns, n % 2 == 0, tally);
      run(memory, op, dtype, algorithm, 7, n, Layout::padded_columns, false, tally);
    }
  });
  CHECK(tally.checked() == kCases * 70 * 7 * 2);
}

TEST_CASE("guard pages: gradients") {
  const Fenced of_grad{32768};
  const Fenced of_y{32768};
  const Fenced of_out{32768};
  Tally tally;
  const std::array axes = {1};
  const auto check = [&](fs::DType dtype, std::int64_t rows, std::int64_t n, Layout layout) {
    Array a = matrix(dtype, rows, n, layout);
    from_dense(a, make_row(kPatterns[0], dtype, static_cast<std::size_t>(rows * n), 1));
    for (const bool at_end : {false, true}) {
      const auto place = [&](const Fenced& fenced) {
        unsigned char* const p =
            at_end ? fenced.last(a.bytes.size()) : fenced.first(a.bytes.size());
        std::copy(a.bytes.begin(), a.bytes.end(), p);
        return p;
      };
      const fs::ConstView grad{place(of_grad), dtype, a.shape, a.strides};
      const fs::ConstView y{place(of_y), dtype, a.shape, a.strides};
      const fs::View out{place(of_out), dtype, a.shape, a.strides};
      fs::softmax_backward(grad, y, out, axes);
      fs::log_softmax_backward(grad, y, out, axes);
      const Array expected = a;
      std::copy_n(static_cast<unsigned char*>(out.data), a.bytes.size(), a.bytes.begin());
      tally.expect(a.bytes != expected.bytes, [] { return "nothing was written"; });
      a = expected;
    }
  };
  for (const fs::DType dtype : kFloatTypes) {
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    for (std::int64_t n = 1; n <= 300; ++n) check(dtype, 1, n, Layout::rows);
    for (std::int64_t n = block - 2; n <= block + 17; ++n) check(dtype, 1, n, Layout::rows);
    for (std::int64_t n = 1; n <= 70; ++n) {
      for (const std::int64_t rows : {2, 17}) check(dtype, rows, n, Layout::rows);
      for (const std::int64_t rows : {2, 8, 19, 37}) check(dtype, rows, n, Layout::columns);
      check(dtype, 9, n, Layout::every_second);
      check(dtype, 7, n, Layout::padded_columns);
    }
  }
  CHECK(tally.checked() == kFloatTypes.size() * (300 + 20 + 70 * 8) * 2);
  CHECK(tally.failed() == 0);
}

TEST_CASE("guard pages: losses") {
  const Fenced of_scores{32768};
  const Fenced of_targets{32768};
  const Fenced of_grad{32768};
  Tally tally;
  const auto check = [&](fs::DType dtype, std::int64_t rows, std::int64_t n, Layout layout) {
    Array a = matrix(dtype, rows, n, layout);
    from_dense(a, make_row(kPatterns[0], dtype, static_cast<std::size_t>(rows * n), 1));
    const std::vector<std::int64_t> classes(static_cast<std::size_t>(rows), n - 1);
    const Shape row_shape = {rows};
    const Shape steps = {8};
    double loss = 0.0;
    float single = 0.0F;
    const bool f64 = dtype == fs::DType::f64;
    const fs::View result{
        f64 ? static_cast<void*>(&loss) : &single, f64 ? fs::DType::f64 : fs::DType::f32, {}, {}};
    for (const bool at_end : {false, true}) {
      const auto place = [&](const Fenced& fenced) {
        unsigned char* const p =
            at_end ? fenced.last(a.bytes.size()) : fenced.first(a.bytes.size());
        std::copy(a.bytes.begin(), a.bytes.end(), p);
        return p;
      };
      const fs::ConstView scores{place(of_scores), dtype, a.shape, a.strides};
      const fs::ConstView soft{place(of_targets), dtype, a.shape, a.strides};
      const fs::View grad{place(of_grad), dtype, a.shape, a.strides};
      for (const double softcap : {0.0, 5.0}) {
        fs::CrossEntropyOptions options;
        options.softcap = softcap;
        fs::cross_entropy(scores, soft, 1, {result, grad, {}}, options);
        fs::cross_entropy(scores, {classes.data(), fs::DType::i64, row_shape, steps}, 1,
                          {result, grad, {}}, options);
      }
      const auto* const written = static_cast<const unsigned char*>(grad.data);
      tally.expect(!std::equal(a.bytes.begin(), a.bytes.end(), written),
                   [] { return "nothing was written"; });
    }
  };
  for (const fs::DType dtype : kFloatTypes) {
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    for (std::int64_t n = 1; n <= 300; n += n < 140 ? 1 : 5) check(dtype, 1, n, Layout::rows);
    for (std::int64_t n = block - 2; n <= block + 17; ++n) check(dtype, 1, n, Layout::rows);
    for (std::int64_t n = 1; n <= 70; ++n) {
      check(dtype, 17, n, Layout::rows);
      for (const std::int64_t rows : {2, 19, 37}) check(dtype, rows, n, Layout::columns);
      check(dtype, 9, n, Layout::every_second);
      check(dtype, 7, n, Layout::padded_columns);
    }
  }
  CHECK(tally.checked() > 4'000);
  CHECK(tally.failed() == 0);
}

TEST_CASE("guard pages: selection and sampling") {
  const Memory memory;
  Tally tally;
  std::array<unsigned char, 64> values{};
  std::array<std::int64_t, 3> indices{};
  for (const fs::DType dtype : kFloatTypes) {
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    for (std::int64_t n = 3; n <= block + 20; n += n < 300 ? 1 : n < block - 3 ? 37 : 1) {
      const Bytes row = make_row(kPatterns[0], dtype, static_cast<std::size_t>(n), 1);
      for (const bool at_end : {false, true}) {
        unsigned char* const p = at_end ? memory.x.last(row.size()) : memory.x.first(row.size());
        std::copy(row.begin(), row.end(), p);
        const std::int64_t item = fs::itemsize(dtype);
        const std::array shape = {n};
        const std::array<std::int64_t, 1> strides = {item};
        const std::array<std::int64_t, 1> one = {1};
        const std::array<std::int64_t, 1> three = {3};
        const std::array<std::int64_t, 1> eight = {8};
        const fs::ConstView x{p, dtype, shape, strides};
        fs::softmax_topk(x, 3, 0, {values.data(), dtype, three, strides},
                         {indices.data(), fs::DType::i64, three, eight});
        fs::gumbel_topk(x, 3, 0, {values.data(), dtype, three, strides},
                        {indices.data(), fs::DType::i64, three, eight});
        for (const double temperature : {1.0, 0.5}) {
          fs::SampleOptions options;
          options.temperature.value = temperature;
          const fs::View index{indices.data(), fs::DType::i64, one, eight};
          fs::sample(x, 0, index, options);
          options.typical_p.value = 0.5;
          fs::sample(x, 0, index, options);
          options.top_p.value = 0.5;
          fs::sample(x, 0, index, options);
          options.top_k.value = n / 2;
          fs::sample(x, 0, index, options);
        }
        tally.expect(indices[0] >= 0 && indices[0] < n, [] { return "index"; });
      }
    }
  }
  CHECK(tally.checked() > 4 * 2 * 300);
}

TEST_CASE("guard pages: gumbel_softmax") {
  const Memory memory;
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    for (std::int64_t n = 1; n <= block + 20; n += n < 140 ? 1 : n < block - 3 ? 37 : 1) {
      const Bytes row = make_row(kPatterns[0], dtype, static_cast<std::size_t>(n), 1);
      const std::array shape = {n};
      const std::array<std::int64_t, 1> strides = {fs::itemsize(dtype)};
      for (const bool at_end : {false, true}) {
        unsigned char* const p = at_end ? memory.x.last(row.size()) : memory.x.first(row.size());
        unsigned char* const y = at_end ? memory.y.last(row.size()) : memory.y.first(row.size());
        std::copy(row.begin(), row.end(), p);
        for (const bool hard : {false, true}) {
          fs::GumbelSoftmaxOptions options;
          options.hard = hard;
          fs::gumbel_softmax({p, dtype, shape, strides}, 0, {y, dtype, shape, strides}, options);
          double sum = 0.0;
          for (std::int64_t i = 0; i < n; ++i)
            sum += static_cast<double>(get(dtype, y + i * fs::itemsize(dtype)));
          tally.expect(std::fabs(sum - 1.0) < 0.05, [] { return "sum"; });
        }
      }
    }
  }
  CHECK(tally.checked() > 4 * 4 * 140);
  CHECK(tally.failed() == 0);
}

TEST_CASE("guard pages: layers of trees") {
  const Fenced of_x{32768};
  const Fenced of_nodes{32768};
  const Fenced of_leaves{131072};
  const Fenced of_node_bias{4096};
  const Fenced of_leaf_bias{4096};
  const Fenced of_grad{32768};
  const Fenced of_out{32768};
  const Tree trees[] = {random_tree(1, 30, 2, 2), Tree::from_clusters(Numbers{0, 1, 1, 0, 1, 2, 2}),
                        random_tree(2, 9, 1, 20)};
  Tally tally;
  const auto check = [&](const Tree& tree, fs::DType dtype, std::int64_t columns, bool at_end) {
    const LayerArrays a = random_layer(tree, dtype, 19, columns, true);
    const auto place = [&](const Fenced& fenced, const Array& array) {
      const std::size_t size = array.bytes.size();
      unsigned char* const p = at_end ? fenced.last(size) : fenced.first(size);
      std::copy(array.bytes.begin(), array.bytes.end(), p);
      return fs::View{p, array.dtype, array.shape, array.strides};
    };
    const auto input = [&](const Fenced& fenced, const Array& array) {
      const fs::View view = place(fenced, array);
      return fs::ConstView{view.data, view.dtype, view.shape, view.strides};
    };
    fs::TreeLayer layer{
        &tree, input(of_x, a.x), input(of_nodes, a.nodes), input(of_node_bias, *a.node_bias), {},
        {}};
    if (a.leaves) {
      layer.leaves = input(of_leaves, *a.leaves);
      layer.leaf_bias = input(of_leaf_bias, *a.leaf_bias);
    }
    const Array all = dense(a.dtype(), {19, tree.num_leaves()});
    const fs::View out = place(of_out, all);
    fs::hierarchical_log_prob(layer, out);
    tally.expect(std::memcmp(out.data, all.bytes.data(), all.bytes.size()) != 0,
                 [] { return "nothing was written"; });
    const Array loss = dense(a.dtype(), {19});
    const Array grad = dense(a.dtype(), a.x.shape);
    const Array targets = integers(random_leaves(tree, 19, 1), {19});
    fs::SparseRows weights;
    const fs::View grad_x = place(of_grad, grad);
    fs::hierarchical_loss(layer, targets.view(), {place(of_out, loss), grad_x, &weights},
                          with_reduction(fs::Reduction::none));
    tally.expect(std::memcmp(grad_x.data, grad.bytes.data(), grad.bytes.size()) != 0,
                 [] { return "nothing was written"; });
    Array indices = dense(fs::DType::i64, {19, 3});
    const Array values = dense(a.dtype(), indices.shape);
    fs::hierarchical_topk(layer, 3, place(of_grad, values), indices.out());
    fs::hierarchical_sample(layer, 1, 1, place(of_out, dense(fs::DType::i64, {19})));
  };
  for (const Tree& tree : trees) {
    for (const fs::DType dtype : kFloatTypes) {
      for (std::int64_t columns = 1; columns <= 70; ++columns) {
        check(tree, dtype, columns, false);
        check(tree, dtype, columns, true);
      }
    }
  }
  CHECK(tally.checked() == 3 * 4 * 70 * 2 * 2);
  CHECK(tally.failed() == 0);
}
