// A fixed corpus and the checksums of its results, made by the scalar kernels with
// three_pass_recompute. Whatever runs this, every algorithm must reproduce them.
//
// A change that is meant to change bits (docs/numerics.md, the contract) needs a new table:
//   FASTSOFTMAX_WRITE_CHECKSUMS=tests/cpp/checksums.inc fastsoftmax_tests --test-suite=checksums
#include <cstdlib>
#include <fstream>

#include "fastsoftmax/backward.hpp"
#include "fastsoftmax/cross_entropy.hpp"
#include "fastsoftmax/gumbel_softmax.hpp"
#include "fastsoftmax/sampling.hpp"
#include "fastsoftmax/stats.hpp"
#include "fastsoftmax/topk.hpp"
#include "run.h"
#include "tree_layers.h"

using namespace tests;

namespace {

struct Checksum {
  std::string_view op;
  std::string_view dtype;
  std::string_view group;
  std::uint64_t value;
};

constexpr Checksum kChecksums[] = {
#include "checksums.inc"
};

// Lengths as multiples of the type's block plus a remainder.
struct Length {
  std::size_t blocks;
  std::ptrdiff_t rest;

  std::size_t of(fs::DType dtype) const {
    return static_cast<std::size_t>(static_cast<std::ptrdiff_t>(blocks * block_of(dtype)) + rest);
  }
};

struct Group {
  const char* name;
  std::size_t patterns_per_length;
  std::vector<Length> lengths;
};

std::vector<Group> groups() {
  Group tiny{"tiny", 3, {}};
  for (std::ptrdiff_t n = 0; n <= 20; ++n) tiny.lengths.push_back({0, n});
  return {tiny,
          {"lanes", 2, {{0, 31}, {0, 32}, {0, 33}, {0, 61}, {0, 63}, {0, 64}, {0, 65}, {0, 97}}},
          {"block", 3, {{1, -1}, {1, 0}, {1, 1}}},
          {"blocks", 7, {{2, 0}, {3, 5}}},
          {"many blocks", 2, {{8, 77}}}};
}

// FNV-1a.
std::uint64_t add_to_hash(std::uint64_t hash, const Bytes& bytes) {
  for (const unsigned char byte : bytes) hash = (hash ^ byte) * 0x100000001b3u;
  return hash;
}

// Patterns take turns, so that a group sees all of them over its lengths and types.
std::uint64_t checksum(const Group& group, fs::Op op, fs::DType dtype, fs::Algorithm algorithm) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  std::size_t turn = static_cast<std::size_t>(dtype) * 7;
  for (const Length& length : group.lengths) {
    for (std::size_t i = 0; i < group.patterns_per_length; ++i, ++turn) {
      const Bytes x = make_row(kPatterns[turn % kPatterns.size()], dtype, length.of(dtype), turn);
      hash = add_to_hash(hash, run_row(op, dtype, x, with(algorithm)));
    }
  }
  return hash;
}

// What selects and draws: results for one row.
struct Selecting {
  const char* name;
  void (*run)(const fs::ConstView& x, Array& values, Array& indices);
};

constexpr std::int64_t kSelected = 5;

fs::View part(Array& array, const Shape& shape, std::int64_t at = 0) {
  return {array.bytes.data() + at * fs::itemsize(array.dtype), array.dtype, shape, array.strides};
}

constexpr std::array kSelecting = {
    Selecting{"softmax_topk",
              [](const fs::ConstView& x, Array& values, Array& indices) {
                const std::int64_t k = std::min(x.shape[0], kSelected);
                fs::softmax_topk(x, k, 0, part(values, {k}), part(indices, {k}));
              }},
    Selecting{"softmax_stats",
              [](const fs::ConstView& x, Array& values, Array&) {
                const Shape one = {1};
                fs::softmax_stats(x, 0,
                                  {part(values, one), part(values, one, 1), part(values, one, 2),
                                   part(values, one, 3), part(values, one, 4)});
              }},
    Selecting{"sample",
              [](const fs::ConstView& x, Array& values, Array& indices) {
                const Shape one = {1};
                fs::SampleOptions options;
                for (std::int64_t i = 0; i < kSelected; ++i) {
                  options.random.position.value = static_cast<std::uint64_t>(i);
                  if (i == 1) options.top_p.value = 0.7;
                  if (i == 2) options.typical_p.value = 0.7;
                  if (i == 3) options.top_k.value = 20;
                  if (i == 4) options.temperature.value = 1.7;
                  const fs::View logprobs = part(values, one, i);
                  fs::sample(x, 0, part(indices, one, i), options, &logprobs);
                }
              }},
    Selecting{"gumbel_topk", [](const fs::ConstView& x, Array& values, Array& indices) {
                const std::int64_t k = std::min(x.shape[0], kSelected);
                fs::gumbel_topk(x, k, 0, part(values, {k}), part(indices, {k}));
              }}};

std::uint64_t checksum(const Selecting& selecting, fs::DType dtype) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const Group& group : groups()) {
    std::size_t turn = static_cast<std::size_t>(dtype) * 7;
    for (const Length& length : group.lengths) {
      if (length.of(dtype) == 0) continue;
      for (std::size_t i = 0; i < group.patterns_per_length; ++i, ++turn) {
        const Bytes x = make_row(kPatterns[turn % kPatterns.size()], dtype, length.of(dtype), turn);
        const Shape shape = {static_cast<std::int64_t>(length.of(dtype))};
        const Shape strides = {fs::itemsize(dtype)};
        Array values = dense(dtype, {kSelected});
        Array indices = dense(fs::DType::i64, {kSelected});
        selecting.run({x.data(), dtype, shape, strides}, values, indices);
        hash = add_to_hash(add_to_hash(hash, values.bytes), indices.bytes);
      }
    }
  }
  return hash;
}

// Soft and hard results of one row.
std::uint64_t checksum_of_gumbel_softmax(fs::DType dtype) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const Group& group : groups()) {
    std::size_t turn = static_cast<std::size_t>(dtype) * 7;
    for (const Length& length : group.lengths) {
      for (std::size_t i = 0; i < group.patterns_per_length; ++i, ++turn) {
        const std::size_t n = length.of(dtype);
        const Array x = dense(dtype, {static_cast<std::int64_t>(n)},
                              make_row(kPatterns[turn % kPatterns.size()], dtype, n, turn));
        Array hard = dense(dtype, x.shape);
        Array soft = dense(dtype, x.shape);
        const fs::View of_soft = soft.out();
        fs::GumbelSoftmaxOptions options;
        options.hard = true;
        options.random.seed.value = turn;
        if (i % 2 == 1) options.temperature.value = 0.7;
        fs::gumbel_softmax(x.view(), 0, hard.out(), options, &of_soft);
        hash = add_to_hash(add_to_hash(hash, hard.bytes), soft.bytes);
      }
    }
  }
  return hash;
}

// Gradients of one row, with the next one as the gradient of the output.
struct Gradient {
  const char* name;
  fs::Op op;
  void (*run)(const fs::ConstView& grad, const fs::ConstView& y, const fs::View& out,
              std::span<const int> axes, const fs::BackwardOptions& options);
};

constexpr std::array kGradients = {
    Gradient{"softmax_backward", fs::Op::softmax, fs::softmax_backward},
    Gradient{"log_softmax_backward", fs::Op::log_softmax, fs::log_softmax_backward}};

std::uint64_t checksum(const Gradient& gradient, fs::DType dtype) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const std::array axes = {0};
  for (const Group& group : groups()) {
    std::size_t turn = static_cast<std::size_t>(dtype) * 7;
    for (const Length& length : group.lengths) {
      const std::size_t n = length.of(dtype);
      for (std::size_t i = 0; i < group.patterns_per_length; ++i, ++turn) {
        const auto row = [&](std::size_t at) {
          return make_row(kPatterns[at % kPatterns.size()], dtype, n, at);
        };
        const Array grad = dense(dtype, {static_cast<std::int64_t>(n)}, row(turn + 1));
        const Array y = dense(dtype, grad.shape, run_row(gradient.op, dtype, row(turn)));
        Array out = dense(dtype, grad.shape);
        fs::BackwardOptions options;
        if (i % 2 == 1) options.temperature = 0.7;
        gradient.run(grad.view(), y.view(), out.out(), axes, options);
        hash = add_to_hash(hash, out.bytes);
      }
    }
  }
  return hash;
}

// Loss, gradient and logsumexp of one row, the options taking turns.
std::uint64_t checksum_of_losses(fs::DType dtype) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const fs::DType loss_dtype = dtype == fs::DType::f64 ? fs::DType::f64 : fs::DType::f32;
  const Shape one = {1};
  for (const Group& group : groups()) {
    std::size_t turn = static_cast<std::size_t>(dtype) * 7;
    for (const Length& length : group.lengths) {
      const std::size_t n = length.of(dtype);
      if (n == 0) continue;
      for (std::size_t i = 0; i < group.patterns_per_length; ++i, ++turn) {
        const Shape shape = {static_cast<std::int64_t>(n)};
        const Array x =
            dense(dtype, shape, make_row(kPatterns[turn % kPatterns.size()], dtype, n, turn));
        const Array q = dense(dtype, shape,
                              run_row(fs::Op::softmax, dtype, make_row(kPatterns[0], dtype, n, i)));
        Array grad = dense(dtype, shape);
        Array values = dense(loss_dtype, {2});
        const auto target = static_cast<std::int64_t>(turn % n);
        fs::CrossEntropyOptions options;
        options.reduction = fs::Reduction::sum;
        if (turn % 3 == 1) options.label_smoothing = 0.1;
        if (turn % 4 == 1) options.z_loss = 1e-3;
        if (turn % 5 == 1) options.softcap = 20.0;
        const fs::ConstView targets =
            turn % 3 == 2 ? q.view() : fs::ConstView{&target, fs::DType::i64, {}, {}};
        fs::cross_entropy(x.view(), targets, 0,
                          {part(values, {}), grad.out(), part(values, one, 1)}, options);
        hash = add_to_hash(add_to_hash(hash, values.bytes), grad.bytes);
      }
    }
  }
  return hash;
}

// Layers of all trees, the options taking turns: loss and gradients, all leaves, top-k, draws.
std::uint64_t checksum_of_trees(fs::DType dtype, const std::vector<NamedTree>& trees) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  std::uint64_t turn = 0;
  for (const NamedTree& t : trees) {
    for (const std::int64_t columns : {1, 30, 133}) {
      for (const std::int64_t rows : {1, 40}) {
        ++turn;
        const LayerArrays a = random_layer(t.tree, dtype, rows, columns, turn % 2 == 0, turn);
        Numbers targets = random_leaves(t.tree, rows, turn);
        if (turn % 3 == 1) targets[0] = -100;
        fs::TreeLossOptions options;
        if (turn % 4 != 1) options.reduction = fs::Reduction::none;
        const LossResult result = loss_of(a, targets, options);
        for (const Bytes* bytes :
             {&result.loss, &result.grad_x, &result.grad_weights, &result.grad_bias})
          hash = add_to_hash(hash, *bytes);
        hash = add_to_hash(hash, integers(result.ids, {std::ssize(result.ids)}).bytes);
        hash = add_to_hash(hash, log_probs(a));
        const Found found = topk_of(a, std::min<std::int64_t>(7, t.tree.num_leaves()), {});
        hash = add_to_hash(add_to_hash(hash, found.values), found.indices);
        hash = add_to_hash(hash, found.visited);
        hash = add_to_hash(hash, sample_of(a, turn, 3));
      }
    }
  }
  return hash;
}

void write_line(std::ofstream& file, std::string_view op, fs::DType dtype, std::string_view group,
                std::uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%016llx", static_cast<unsigned long long>(value));
  file << "    {\"" << op << "\", \"" << fs::name(dtype) << "\", \"" << group << "\", " << text
       << "},\n";
}

void write_table(const char* path) {
  const UseIsa scalar(fs::Isa::scalar);
  std::ofstream file(path);
  for (const Group& group : groups()) {
    for (const fs::DType dtype : kFloatTypes) {
      for (const fs::Op op : kOps) {
        write_line(file, fs::name(op), dtype, group.name,
                   checksum(group, op, dtype, fs::Algorithm::three_pass_recompute));
      }
    }
  }
  for (const fs::DType dtype : kFloatTypes) {
    for (const Selecting& selecting : kSelecting)
      write_line(file, selecting.name, dtype, "all", checksum(selecting, dtype));
  }
  for (const fs::DType dtype : kFloatTypes)
    write_line(file, "gumbel_softmax", dtype, "all", checksum_of_gumbel_softmax(dtype));
  for (const fs::DType dtype : kFloatTypes) {
    for (const Gradient& gradient : kGradients)
      write_line(file, gradient.name, dtype, "all", checksum(gradient, dtype));
  }
  for (const fs::DType dtype : kFloatTypes)
    write_line(file, "cross_entropy", dtype, "all", checksum_of_losses(dtype));
  for (const fs::DType dtype : kFloatTypes) {
    write_line(file, "trees", dtype, "binary", checksum_of_trees(dtype, binary_trees()));
    write_line(file, "trees", dtype, "others", checksum_of_trees(dtype, other_trees()));
  }
  REQUIRE(file.flush().good());
}

const Checksum* find(std::string_view op, fs::DType dtype, std::string_view group) {
  for (const Checksum& c : kChecksums) {
    if (c.op == op && c.dtype == fs::name(dtype) && c.group == group) return &c;
  }
  return nullptr;
}

}  // namespace

TEST_SUITE("checksums") {
  TEST_CASE("checksums: the fixed corpus") {
    if (const char* path = std::getenv("FASTSOFTMAX_WRITE_CHECKSUMS"); path != nullptr) {
      write_table(path);
      MESSAGE("wrote " << std::string(path) << "; build again before comparing with it");
      return;
    }
    for (const Group& group : groups()) {
      for (const fs::DType dtype : kFloatTypes) {
        for (const fs::Op op : kOps) {
          const Checksum* const expected = find(fs::name(op), dtype, group.name);
          REQUIRE(expected != nullptr);
          for (const fs::Algorithm algorithm : kAlgorithms) {
            INFO(describe(op, dtype, algorithm) << ", " << group.name);
            CHECK(checksum(group, op, dtype, algorithm) == expected->value);
          }
        }
      }
    }
    for (const fs::DType dtype : kFloatTypes) {
      for (const Selecting& selecting : kSelecting) {
        const Checksum* const expected = find(selecting.name, dtype, "all");
        REQUIRE(expected != nullptr);
        INFO(std::string(selecting.name) << " " << fs::name(dtype));
        CHECK(checksum(selecting, dtype) == expected->value);
      }
      const Checksum* const gumbel = find("gumbel_softmax", dtype, "all");
      REQUIRE(gumbel != nullptr);
      INFO("gumbel_softmax " << fs::name(dtype));
      CHECK(checksum_of_gumbel_softmax(dtype) == gumbel->value);
      for (const Gradient& gradient : kGradients) {
        const Checksum* const expected = find(gradient.name, dtype, "all");
        REQUIRE(expected != nullptr);
        INFO(std::string(gradient.name) << " " << fs::name(dtype));
        CHECK(checksum(gradient, dtype) == expected->value);
      }
      const Checksum* const losses = find("cross_entropy", dtype, "all");
      REQUIRE(losses != nullptr);
      INFO("cross_entropy " << fs::name(dtype));
      CHECK(checksum_of_losses(dtype) == losses->value);
      const Checksum* const binary = find("trees", dtype, "binary");
      const Checksum* const others = find("trees", dtype, "others");
      REQUIRE((binary != nullptr && others != nullptr));
      INFO("trees " << fs::name(dtype));
      CHECK(checksum_of_trees(dtype, binary_trees()) == binary->value);
      CHECK(checksum_of_trees(dtype, other_trees()) == others->value);
    }
    MESSAGE("compared on " << fs::name(fs::isa_in_use()));
  }
}
