#include "topk_keys.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "gather.h"
#include "rows_job.h"

namespace fastsoftmax {
namespace {

constexpr std::uint64_t kSign = std::uint64_t{1} << 63;

std::uint64_t key_of(double score) {
  if (std::isnan(score)) return ~std::uint64_t{0};
  const auto bits = std::bit_cast<std::uint64_t>(score + 0.0);
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

template <class Int>
void read_as(const char* p, std::int64_t step, int count, bool swapped, std::uint64_t* keys) {
  for (int i = 0; i < count; ++i, p += step) {
    std::array<char, sizeof(Int)> bytes;
    std::copy_n(p, sizeof(Int), bytes.begin());
    if (swapped) std::reverse(bytes.begin(), bytes.end());
    const auto v = std::bit_cast<Int>(bytes);
    keys[i] = static_cast<std::uint64_t>(v) ^ (std::is_signed_v<Int> ? kSign : 0);
  }
}

bool comes_first(const KeyItem& a, const KeyItem& b) {
  return a.key != b.key ? a.key > b.key : a.index < b.index;
}

}  // namespace

RowKeys::RowKeys(const TopkCall& topk, std::int64_t row)
    : topk_(topk), row_(row), temperature_(topk.call.temperature) {
  const Call& call = topk.call;
  const Offsets at = offsets_of(call.outer.view(), row);
  x_ = call.x + at.x;
  where_ = call.where == nullptr ? nullptr : call.where + at.where;
  if (call.reduced.count > 0) {
    x_step_ = call.reduced.dims[0].x;
    where_step_ = call.reduced.dims[0].where;
  }
  if (call.temperatures != nullptr)
    std::memcpy(&temperature_, call.temperatures + at.temperature, sizeof temperature_);
}

void RowKeys::read_scores(std::int64_t start, int count, double* scores) const {
  const Call& call = topk_.call;
  if (call.row_dtype == DType::f64) {
    fetch_row(&call, row_, start, count, scores);
    for (int i = 0; i < count; ++i) scores[i] /= temperature_;
  } else {
    std::array<float, kBlock> buffer;
    const auto temperature = static_cast<float>(temperature_);
    fetch_row(&call, row_, start, count, buffer.data());
    std::transform(buffer.begin(), buffer.begin() + count, scores,
                   [&](float v) { return static_cast<double>(v / temperature); });
  }
  if (!topk_.smallest) return;
  for (int i = 0; i < count; ++i) scores[i] = -scores[i];
}

void RowKeys::read(std::int64_t start, int count, std::uint64_t* keys) const {
  if (topk_.selection && !is_floating(topk_.call.x_dtype)) return read_integers(start, count, keys);
  std::array<double, kBlock> scores;
  read_scores(start, count, scores.data());
  const char* where = where_ == nullptr ? nullptr : where_ + start * where_step_;
  for (int i = 0; i < count; ++i) {
    const double score = scores[static_cast<std::size_t>(i)];
    const bool admitted =
        topk_.smallest ? !std::isnan(score) : where == nullptr || where[i * where_step_] != 0;
    keys[i] = admitted ? key_of(score) : kNotAdmitted;
  }
}

void RowKeys::read_integers(std::int64_t start, int count, std::uint64_t* keys) const {
  const Call& call = topk_.call;
  const char* const p = element(start);
  const auto as = [&]<class Int>(Int) { read_as<Int>(p, x_step_, count, call.x_swapped, keys); };
  switch (call.x_dtype) {
    case DType::i8:
      as(std::int8_t{});
      break;
    case DType::i16:
      as(std::int16_t{});
      break;
    case DType::i32:
      as(std::int32_t{});
      break;
    case DType::i64:
      as(std::int64_t{});
      break;
    case DType::u16:
      as(std::uint16_t{});
      break;
    case DType::u32:
      as(std::uint32_t{});
      break;
    case DType::u64:
      as(std::uint64_t{});
      break;
    default:
      as(std::uint8_t{});
  }
  if (!topk_.smallest) return;
  for (int i = 0; i < count; ++i) keys[i] = ~keys[i];
}

double RowKeys::score(std::int64_t index) const {
  double score;
  read_scores(index, 1, &score);
  return score;
}

std::int64_t key_items(std::int64_t length, std::int64_t k) {
  return std::min(length, 4 * k + 4 * RowKeys::kBlock);
}

void select_by_keys(const RowKeys& row, std::int64_t k, KeyItem* items, std::int64_t* indices) {
  const std::int64_t capacity = key_items(row.length(), k);
  std::array<std::uint64_t, RowKeys::kBlock> keys;
  std::int64_t count = 0;
  std::uint64_t bound = 0;
  bool bounded = false;  // k items of at least `bound` have been met
  const auto cut = [&] {
    std::nth_element(items, items + k - 1, items + count, comes_first);
    bound = items[k - 1].key;
    bounded = true;
    count = k;
  };
  for (std::int64_t start = 0; start < row.length(); start += RowKeys::kBlock) {
    const auto size =
        static_cast<int>(std::min<std::int64_t>(RowKeys::kBlock, row.length() - start));
    row.read(start, size, keys.data());
    if (capacity - count < size) cut();
    for (int i = 0; i < size; ++i) {
      const std::uint64_t key = keys[static_cast<std::size_t>(i)];
      if (!bounded || key > bound) items[count++] = {key, start + i};
    }
  }
  if (count > k) cut();
  std::sort(items, items + k, comes_first);
  std::transform(items, items + k, indices, [](const KeyItem& item) { return item.index; });
}

void order_lowest(const RowKeys& row, std::int64_t first, std::int64_t k, std::int64_t* indices) {
  std::array<std::uint64_t, RowKeys::kBlock> keys;
  for (const std::uint64_t wanted : {RowKeys::kMinusInfinity, RowKeys::kNotAdmitted}) {
    for (std::int64_t start = 0; start < row.length() && first < k; start += RowKeys::kBlock) {
      const auto size =
          static_cast<int>(std::min<std::int64_t>(RowKeys::kBlock, row.length() - start));
      row.read(start, size, keys.data());
      for (int i = 0; i < size && first < k; ++i) {
        if (keys[static_cast<std::size_t>(i)] == wanted) indices[first++] = start + i;
      }
    }
  }
}

}  // namespace fastsoftmax
