// Selection by integer keys, for what the vector kernels leave to others: integers, rows that may
// hold a NaN or that need the exceptional path, and the order of what is not admitted. Slower, and
// exact for everything.
#pragma once

#include <cstdint>

#include "topk_call.h"

namespace fastsoftmax {

// One row as keys: a larger key comes first.
class RowKeys {
 public:
  RowKeys(const TopkCall& topk, std::int64_t row);

  // Of elements [start, start + count), count at most kBlock.
  void read(std::int64_t start, int count, std::uint64_t* keys) const;
  // The score of an element, as the kernels see it; not for integers that are selected as such.
  double score(std::int64_t index) const;
  // The element itself.
  const char* element(std::int64_t index) const { return x_ + index * x_step_; }
  std::int64_t length() const { return topk_.call.row_length; }

  static constexpr int kBlock = 512;
  static constexpr std::uint64_t kNotAdmitted = 0;
  static constexpr std::uint64_t kMinusInfinity = 0x000fffffffffffff;

 private:
  void read_integers(std::int64_t start, int count, std::uint64_t* keys) const;
  void read_scores(std::int64_t start, int count, double* scores) const;

  const TopkCall& topk_;
  std::int64_t row_;
  const char* x_;
  const char* where_;
  std::int64_t x_step_ = 0;
  std::int64_t where_step_ = 0;
  double temperature_;
};

struct KeyItem {
  std::uint64_t key;
  std::int64_t index;
};

// Items that select_by_keys needs room for.
std::int64_t key_items(std::int64_t length, std::int64_t k);

// The k first by key descending, then index ascending.
void select_by_keys(const RowKeys& row, std::int64_t k, KeyItem* items, std::int64_t* indices);

// Indices [first, k) of those whose score is -inf, admitted ones ahead of the others.
void order_lowest(const RowKeys& row, std::int64_t first, std::int64_t k, std::int64_t* indices);

}  // namespace fastsoftmax
