// Losses over a sample of classes of which each process has a part: joined, they are those of the
// whole, whatever the parts; what is refused.
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fastsoftmax/linear_cross_entropy.hpp"
#include "float_environment.h"
#include "sampled_losses.h"

using namespace tests;

namespace {

// The classes [first, last) of a problem, and what they give.
struct Part {
  std::int64_t first, last;
  Shape shape, shape_of_bias;
  Call call;
  Array max, logsum, target_logit;

  Part(const Problem& p, const Objective& objective, std::int64_t from, std::int64_t to)
      : first(from),
        last(to),
        shape({to - from, p.depth}),
        shape_of_bias({to - from}),
        call(p, objective),
        max(dense(fs::DType::f64, {p.rows})),
        logsum(max),
        target_logit(dense(fs::DType::f64, p.targets_shape())) {
    const std::size_t item = item_bytes(p.x.dtype);
    call.layer.w = {p.w.bytes.data() + at(from * p.depth) * item, p.x.dtype, shape, p.w.strides};
    call.layer.bias = fs::ConstView{p.bias.bytes.data() + at(from) * item, p.x.dtype, shape_of_bias,
                                    p.bias.strides};
    call.options.vocab_start = from;
    call.options.vocab_size = p.classes;
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  fs::SampledLossOutputs rows() {
    fs::SampledLossOutputs out;
    out.max = max.out();
    out.logsum = logsum.out();
    out.target_logit = target_logit.out();
    return out;
  }
  fs::SampledLossOutputs gradients() {
    fs::SampledLossOutputs out = call.outputs();
    out.loss = {};
    return out;
  }
  void forward() {
    fs::sampled_softmax_loss(call.layer, call.targets.view(), call.sample(), call.objective.logq,
                             rows(), call.options);
  }
  void backward(const Array& of_max, const Array& of_logsum) {
    fs::sampled_softmax_loss_backward(call.layer, call.targets.view(), call.sample(),
                                      call.objective.logq, of_max.view(), of_logsum.view(),
                                      gradients(), call.options);
  }
};

// The parts [cuts[i], cuts[i + 1]) joined: loss, gradients of x, w and the bias.
struct Joined {
  std::vector<double> loss, x, w, bias;
  std::vector<Bytes> bytes;

  Joined(const Problem& p, const Objective& objective, const Ids& cuts,
         const fs::SampledLossOptions& options)
      : x(at(p.rows * p.depth)) {
    std::vector<std::unique_ptr<Part>> parts;
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      parts.push_back(std::make_unique<Part>(p, objective, cuts[i], cuts[i + 1]));
      fs::SampledLossOptions& of = parts.back()->call.options;
      of.remove_hits = options.remove_hits;
      of.tile_bytes = options.tile_bytes;
      of.max_threads = options.max_threads;
    }
    if (objective.loss == Loss::softmax)
      join_softmax(p, parts);
    else
      join_logistic(p, parts);
    for (const auto& part : parts) {
      const Results& results = part->call.results;
      const auto of_x = numbers_in(results.grad_x);
      for (std::size_t i = 0; i < x.size(); ++i) x[i] += of_x[i];
      for (const double v : all_rows_of(results.weights, part->last - part->first)) w.push_back(v);
      for (const double v : all_rows_of(results.bias, part->last - part->first)) bias.push_back(v);
      for (const Bytes& b : results.bytes()) bytes.push_back(b);
    }
  }

 private:
  void join_softmax(const Problem& p, const std::vector<std::unique_ptr<Part>>& parts) {
    std::vector<fs::LinearShard> shards;
    for (const auto& part : parts) {
      part->forward();
      shards.push_back({part->max.view(), part->logsum.view(), part->target_logit.view()});
    }
    Array losses = dense(fs::DType::f64, {p.rows});
    Array max = losses;
    Array logsum = losses;
    Array target_logit = dense(fs::DType::f64, p.targets_shape());
    fs::LinearCrossEntropyOutputs out;
    out.loss = losses.out();
    out.max = max.out();
    out.logsum = logsum.out();
    out.target_logit = target_logit.out();
    fs::CrossEntropyOptions options;
    options.reduction = fs::Reduction::none;
    fs::merge_shards(shards, {}, out, options);
    loss = numbers_in(losses);
    for (const auto& part : parts) part->backward(max, logsum);
    bytes = {losses.bytes, max.bytes, logsum.bytes, target_logit.bytes};
  }
  void join_logistic(const Problem& p, const std::vector<std::unique_ptr<Part>>& parts) {
    loss.resize(at(p.rows));
    for (const auto& part : parts) {
      const auto of_part = numbers_in(part->call.run().loss);
      for (std::size_t r = 0; r < loss.size(); ++r) loss[r] += of_part[r];
    }
  }
};

}  // namespace

TEST_CASE("parts of a vocabulary join to the whole") {
  for (const std::int64_t each : {1, 3}) {
    Problem anywhere(fs::DType::f64, 37, 50, 6, each, 40);
    // Neither targets nor a sample from class 17 on.
    Problem in_front = anywhere;
    for (Ids* ids : {&in_front.targets, &in_front.sample})
      for (std::int64_t& id : *ids) id = id < 0 ? id : id % 17;
    for (const Problem* p : {&anywhere, &in_front}) {
      for (const Objective& objective : kObjectives) {
        for (const bool remove_hits : {true, false}) {
          CAPTURE(each);
          CAPTURE(static_cast<int>(objective.loss));
          CAPTURE(static_cast<int>(objective.logq));
          CAPTURE(remove_hits);
          Call call(*p, objective);
          call.options.remove_hits = remove_hits;
          const Results& whole = call.run();
          for (const Ids& cuts : {Ids{0, 50}, Ids{0, 17, 50}, Ids{0, 1, 1, 30, 50}}) {
            fs::SampledLossOptions options;
            options.remove_hits = remove_hits;
            const Joined joined(*p, objective, cuts, options);
            CHECK(difference(joined.loss, numbers_in(whole.loss)) <= 1e-14);
            CHECK(difference(joined.x, numbers_in(whole.grad_x)) <= 1e-14);
            CHECK(difference(joined.w, all_rows_of(whole.weights, p->classes)) <= 1e-14);
            CHECK(difference(joined.bias, all_rows_of(whole.bias, p->classes)) <= 1e-14);
            if (cuts.size() > 2) continue;
            CHECK(joined.loss == numbers_in(whole.loss));
            CHECK(joined.x == numbers_in(whole.grad_x));
            CHECK(joined.w == all_rows_of(whole.weights, p->classes));
            CHECK(joined.bias == all_rows_of(whole.bias, p->classes));
          }
        }
      }
    }
  }
}

TEST_CASE("of a part that has nothing of a row nothing is there") {
  Problem p(fs::DType::f64, 10, 50, 6, 1, 20);
  for (std::int64_t& id : p.sample) id %= 17;
  for (std::int64_t& id : p.targets) id = id < 0 ? id : id % 17;
  Part part(p, {Loss::softmax, fs::LogQ::negatives}, 17, 50);
  part.forward();
  constexpr double infinity = std::numeric_limits<double>::infinity();
  for (std::int64_t r = 0; r < p.rows; ++r) {
    CHECK(numbers_in(part.max)[at(r)] == -infinity);
    CHECK(numbers_in(part.logsum)[at(r)] == (p.ignored(r) ? 0.0 : -infinity));
    CHECK(numbers_in(part.target_logit)[at(r)] == (p.ignored(r) ? 0.0 : -infinity));
  }
  part.backward(dense(fs::DType::f64, {10}), dense(fs::DType::f64, {10}));
  CHECK(part.call.results.weights.ids().empty());
  CHECK(difference(numbers_in(part.call.results.grad_x), std::vector<double>(60)) == 0.0);
}

TEST_CASE("parts depend neither on chunks, threads nor the host's environment") {
  for (const std::int64_t each : {1, 3}) {
    const Problem large(fs::DType::f32, 60, 3000, 40, each, 2500);
    const Problem small(fs::DType::f32, 30, 200, 5, each, 100);
    for (const Objective& objective : kObjectives) {
      CAPTURE(static_cast<int>(objective.loss));
      std::optional<std::vector<Bytes>> one;
      for (const int threads : {1, 2, 5}) {
        fs::SampledLossOptions options;
        options.max_threads = threads;
        const Joined joined(large, objective, {0, 700, 3000}, options);
        if (!one) one = joined.bytes;
        CHECK(joined.bytes == *one);
      }
      check_in_each_environment([&] { return Joined(small, objective, {0, 70, 200}, {}).bytes; });
    }
  }
}

TEST_CASE("a special score is one of the whole") {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double special : {-infinity, infinity, nan, 1e6}) {
    CAPTURE(special);
    Problem p(fs::DType::f64, 6, 20, 3, 1, 10);
    p.targets = {3, 12, 3, 12, 3, 12};
    p.sample = {3, 4, 5, 12, 13, 14};
    auto bias = numbers_in(p.bias);
    bias[12] = special;
    p.bias = doubles(bias, {20});
    const Objective objective = {Loss::softmax, fs::LogQ::negatives};
    Call call(p, objective);
    call.options.remove_hits = false;
    const auto whole = numbers_in(call.run().loss);
    fs::SampledLossOptions options;
    options.remove_hits = false;
    const Joined joined(p, objective, {0, 8, 20}, options);
    const auto same = [](double a, double b) {
      return a == b || (a != a && b != b) || a == doctest::Approx(b).epsilon(1e-13);
    };
    for (std::size_t r = 0; r < whole.size(); ++r) CHECK(same(joined.loss[r], whole[r]));
    const auto grad_x = numbers_in(call.results.grad_x);
    for (std::size_t i = 0; i < grad_x.size(); ++i) CHECK(same(joined.x[i], grad_x[i]));
  }
}

TEST_CASE("what parts refuse") {
  const Problem p(fs::DType::f32, 4, 10, 3, 1, 6);
  const auto says = [](const char* what, auto run) {
    std::string message;
    try {
      run();
    } catch (const fs::InvalidArgument& error) {
      message = error.what();
    }
    CAPTURE(message);
    CHECK(message.find(what) != std::string::npos);
  };
  const Objective softmax = {Loss::softmax, fs::LogQ::all};
  const auto part = [&](auto change) {
    Part of(p, softmax, 4, 10);
    change(of.call);
    of.forward();
  };
  says("target 10 of row 1 is out of bounds for classes 0 to 9",
       [&] { part([](Call& c) { c.targets = integers({0, 10, 2, 3}); }); });
  says("class -1 of the sample is out of bounds",
       [&] { part([](Call& c) { c.ids = integers({0, 1, 2, 3, 4, -1}); }); });
  says("target 3 of row 0 is out of bounds for classes 4 to 9", [&] {
    part([](Call& c) {
      c.options.vocab_size.reset();
      c.ids = integers({4, 5, 6, 7, 8, 9});
      c.targets = integers({3, 4, 5, 6});
    });
  });
  says("more than vocab_size 9", [&] { part([](Call& c) { c.options.vocab_size = 9; }); });
  says("vocab_start must not be negative or exceed 64 bits, got -1",
       [&] { part([](Call& c) { c.options.vocab_start = -1; }); });
  says("neither loss nor gradients; see merge_shards", [&] {
    Part of(p, softmax, 4, 10);
    of.call.run();
  });
  says("this loss has no max to merge", [&] {
    Part of(p, {Loss::nce, fs::LogQ::all}, 4, 10);
    fs::nce_loss(of.call.layer, of.call.targets.view(), of.call.sample(), of.rows(),
                 of.call.options);
  });
  Part of(p, softmax, 4, 10);
  of.forward();
  const Array few = dense(fs::DType::f64, {3});
  says("max has shape (3,), expected (4,)", [&] { of.backward(few, of.logsum); });
  says("logsum has shape (3,), expected (4,)", [&] { of.backward(of.max, few); });

  const Array several = dense(fs::DType::f64, {4, 2});
  const fs::LinearShard one = {of.max.view(), of.logsum.view(), of.target_logit.view()};
  const fs::LinearShard other = {of.max.view(), of.logsum.view(), several.view()};
  const auto merge = [](std::vector<fs::LinearShard> shards, const fs::CrossEntropyOptions& o) {
    fs::merge_shards(shards, {}, {}, o);
  };
  says("target_logit of a shard has shape (4, 2), expected (4,)", [&] { merge({one, other}, {}); });
  says("target_logit of a shard has shape (3,) for 4 rows",
       [&] { merge({{of.max.view(), of.logsum.view(), few.view()}}, {}); });
  const Array weights = dense(fs::DType::f64, {10});
  fs::CrossEntropyOptions weighted;
  weighted.weight = weights.view();
  says("class weights go with one target", [&] { merge({other}, weighted); });
}
