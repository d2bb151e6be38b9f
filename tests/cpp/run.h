// Calls of the public interface, and what tests of all types, operations and algorithms share.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "array.h"
#include "corpus.h"
#include "fastsoftmax/runtime.hpp"
#include "fastsoftmax/softmax.hpp"

namespace tests {

inline constexpr std::array kFloatTypes = {fs::DType::f32, fs::DType::f64, fs::DType::f16,
                                           fs::DType::bf16};
inline constexpr std::array kOps = {fs::Op::softmax, fs::Op::log_softmax, fs::Op::logsumexp};
inline constexpr std::array kAlgorithms = {
    fs::Algorithm::three_pass_reload, fs::Algorithm::three_pass_recompute, fs::Algorithm::two_pass,
    fs::Algorithm::online, fs::Algorithm::online_reload};

inline void apply(fs::Op op, const fs::ConstView& x, const fs::View& out, std::span<const int> axes,
                  const fs::Options& options) {
  switch (op) {
    case fs::Op::softmax:
      return fs::softmax(x, out, axes, options);
    case fs::Op::log_softmax:
      return fs::log_softmax(x, out, axes, options);
    case fs::Op::logsumexp:
      return fs::logsumexp(x, out, axes, options);
  }
}

inline fs::Options with(fs::Algorithm algorithm) {
  fs::Options options;
  options.algorithm = algorithm;
  return options;
}

// A matrix in dense order, reduced along its second axis: x goes through `layout` and so does the
// result.
inline Bytes run_matrix(fs::Op op, fs::DType dtype, std::int64_t n, const Bytes& x, Layout layout,
                        const fs::Options& options) {
  const auto rows = static_cast<std::int64_t>(x.size() / item_bytes(dtype)) / n;
  Array in = matrix(dtype, rows, n, layout);
  from_dense(in, x);
  Array out = matrix(dtype, rows, op == fs::Op::logsumexp ? 1 : n, layout);
  const std::array axes = {1};
  apply(op, in.view(), out.out(), axes, options);
  return to_dense(out);
}

// One contiguous row.
inline Bytes run_row(fs::Op op, fs::DType dtype, const Bytes& x, const fs::Options& options) {
  const auto n = static_cast<std::int64_t>(x.size() / item_bytes(dtype));
  const std::array x_shape = {n};
  const std::array out_shape = {op == fs::Op::logsumexp ? std::int64_t{1} : n};
  const std::array<std::int64_t, 1> strides = {fs::itemsize(dtype)};
  const std::array axes = {0};
  Bytes y(static_cast<std::size_t>(out_shape[0]) * item_bytes(dtype), 0xa5);
  apply(op, {x.data(), dtype, x_shape, strides}, {y.data(), dtype, out_shape, strides}, axes,
        options);
  return y;
}

// The result that all others are compared with.
inline Bytes run_row(fs::Op op, fs::DType dtype, const Bytes& x) {
  return run_row(op, dtype, x, with(fs::Algorithm::three_pass_recompute));
}

inline Bytes make_row(const Pattern& pattern, fs::DType dtype, std::size_t n, std::uint64_t seed) {
  Random random(seed);
  std::vector<double> values(n);
  pattern.fill(random, values, block_of(dtype));
  return encode(dtype, values);
}

// Rows of one kind.
inline Bytes rows_of(const Pattern& pattern, Random& random, fs::DType dtype, std::size_t rows,
                     std::size_t n) {
  Bytes x;
  for (std::size_t r = 0; r < rows; ++r) {
    const Bytes row = make_row(pattern, dtype, n, random.bits());
    x.insert(x.end(), row.begin(), row.end());
  }
  return x;
}

// Which elements of a matrix are admitted: about such a share of them.
class Mask {
 public:
  Mask(Random& random, std::int64_t rows, std::int64_t n, double share)
      : shape_{rows, n}, strides_{n, 1}, admitted_(static_cast<std::size_t>(rows * n)) {
    for (unsigned char& b : admitted_) b = random.chance(share) ? 1 : 0;
  }
  void leave_out_first_row() {
    std::fill_n(admitted_.begin(), shape_[1], static_cast<unsigned char>(0));
  }
  fs::ConstView view() const { return {admitted_.data(), fs::DType::boolean, shape_, strides_}; }

 private:
  Shape shape_;
  Shape strides_;
  Bytes admitted_;
};

// Kinds of rows: such as the fast paths take, all of one kind, anything.
inline Bytes random_rows(Random& random, fs::DType dtype, std::size_t rows, std::size_t n) {
  constexpr std::int64_t tame = 6;  // patterns whose maxima lie well in the domain
  const auto mode = random.below(3);
  const auto all = random.below(kPatterns.size());
  Bytes x;
  for (std::size_t r = 0; r < rows; ++r) {
    const std::int64_t pattern =
        mode == 0 ? random.below(tame) : (mode == 1 ? all : random.below(kPatterns.size()));
    const Bytes row =
        make_row(kPatterns[static_cast<std::size_t>(pattern)], dtype, n, random.bits());
    x.insert(x.end(), row.begin(), row.end());
  }
  return x;
}

// Lengths of rows around the boundaries of lanes, tiles and blocks.
inline std::vector<std::int64_t> lengths_around(std::size_t block) {
  const auto b = static_cast<std::int64_t>(block);
  const std::int64_t lanes = b / 16;
  return {1,
          2,
          3,
          15,
          16,
          17,
          lanes / 2 + 1,
          lanes - 1,
          lanes,
          lanes + 1,
          2 * lanes + 5,
          4 * lanes - 1,
          4 * lanes,
          4 * lanes + 1,
          b - 1,
          b,
          b + 1,
          2 * b,
          2 * b + 3,
          4 * b,
          4 * b + 1,
          5 * b - 7};
}

// Rows of n elements, each as a call of its own.
inline Bytes one_by_one(fs::Op op, fs::DType dtype, const Bytes& x, std::size_t n) {
  Bytes all;
  const auto step = static_cast<std::ptrdiff_t>(n * item_bytes(dtype));
  for (auto row = x.begin(); row != x.end(); row += step) {
    const Bytes y = run_row(op, dtype, Bytes(row, row + step));
    all.insert(all.end(), y.begin(), y.end());
  }
  return all;
}

// f(dtype, op, algorithm) for all of them.
inline constexpr long kCases = kFloatTypes.size() * kOps.size() * kAlgorithms.size();
template <class F>
void for_each_case(F&& f) {
  for (const fs::DType dtype : kFloatTypes)
    for (const fs::Op op : kOps)
      for (const fs::Algorithm algorithm : kAlgorithms) f(dtype, op, algorithm);
}

// Sets an instruction set and takes it back.
class UseIsa {
 public:
  explicit UseIsa(fs::Isa isa) : before_(fs::isa_in_use()) {
    if (isa != before_) fs::use_isa(isa);
  }
  ~UseIsa() {
    if (fs::isa_in_use() != before_) fs::use_isa(before_);
  }
  UseIsa(const UseIsa&) = delete;
  UseIsa& operator=(const UseIsa&) = delete;

 private:
  fs::Isa before_;
};

inline std::string describe(fs::Op op, fs::DType dtype, fs::Algorithm algorithm) {
  return std::string(fs::name(op)) + " " + std::string(fs::name(dtype)) + " " +
         std::string(fs::name(algorithm)) + " " + std::string(fs::name(fs::isa_in_use()));
}

// Counts comparisons, so that a test can tell that it made them all, and reports the first failures
// in full.
class Tally {
 public:
  template <class Describe>
  void expect(bool ok, Describe&& what) {
    ++checked_;
    if (ok) return;
    if (++failed_ <= kShown) FAIL_CHECK(what());
  }
  template <class Describe>
  void same(fs::DType dtype, const Bytes& expected, const Bytes& actual, Describe&& what) {
    expect(expected == actual,
           [&] { return std::string(what()) + ": " + difference(dtype, expected, actual); });
  }
  long checked() const { return checked_; }
  long failed() const { return failed_; }

 private:
  static constexpr long kShown = 10;
  long checked_ = 0;
  long failed_ = 0;
};

}  // namespace tests
