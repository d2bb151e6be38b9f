// Random numbers of samplers, and the set of what they have drawn.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "fastsoftmax/samplers.hpp"
#include "kernels/kernel_table.h"
#include "portable_math.h"

#define FASTSOFTMAX_ISA baseline
#include "kernels/philox.h"

namespace fastsoftmax {

// Streams of one seed and position. Those of fastsoftmax::sample have row ids in this place, whose
// upper half is small.
enum class Purpose : std::uint32_t { choice = 0x80000000, arrival, rest, negatives };

class DrawStream {
 public:
  DrawStream(const DrawOptions& options, Purpose purpose)
      : stream_{{low(options.seed), high(options.seed)},
                low(options.position),
                {0, static_cast<std::uint32_t>(purpose)}} {}

  // body(i, 64 random bits), i from 0 on, for numbers first, first + 1, ... of the stream.
  template <class Body>
  void for_each(std::int64_t first, std::int64_t count, Body body) const {
    std::int64_t i = 0;
    if (first % 2 != 0 && i < count) body(i++, at(first));
    for (; i + 1 < count; i += 2) {
      const baseline::Philox bits = block(static_cast<std::uint64_t>((first + i) / 2));
      body(i, bits.half(0));
      body(i + 1, bits.half(1));
    }
    if (i < count) body(i, at(first + i));
  }
  std::uint64_t at(std::int64_t number) const {
    return block(static_cast<std::uint64_t>(number / 2)).half(static_cast<int>(number % 2));
  }

 private:
  static std::uint32_t low(std::uint64_t v) { return static_cast<std::uint32_t>(v); }
  static std::uint32_t high(std::uint64_t v) { return static_cast<std::uint32_t>(v >> 32); }

  baseline::Philox block(std::uint64_t number) const {
    kernels::RandomStream stream = stream_;
    stream.id[0] = high(number);
    return baseline::random(stream, low(number));
  }

  kernels::RandomStream stream_;
};

inline void check_class_count(std::int64_t classes) {
  if (classes < 1 || classes >> 32 != 0)
    throw InvalidArgument("the number of classes must be from 1 to 2**32 - 1, got " +
                          std::to_string(classes));
}
inline void check_position(std::uint64_t position) {
  if (position >> 32 != 0)
    throw InvalidArgument("position must be below 2**32, got " + std::to_string(position));
}

// In [0, 1), and in (0, 1).
inline double unit(std::uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }
inline double open_unit(std::uint64_t bits) {
  return (static_cast<double>(bits >> 12) + 0.5) * 0x1p-52;
}

// floor(bits / 2^64 * count), count below 2^32: probabilities are equal to within 2^-64. What is
// left of the product, bits * count modulo 2^64, says where within its part of [0, 2^64) it lies.
inline std::int64_t below(std::uint64_t bits, std::int64_t count) {
  const auto n = static_cast<std::uint64_t>(count);
  return static_cast<std::int64_t>(((bits >> 32) * n + ((bits & 0xffffffff) * n >> 32)) >> 32);
}

// From arrival `first` of a Poisson process of rate 1 to arrival `last`.
inline double elapsed(const DrawOptions& options, std::int64_t first, std::int64_t last) {
  constexpr int together = 16;  // factors whose product does not underflow
  double time = 0.0;
  double product = 1.0;
  const DrawStream random(options, Purpose::arrival);
  random.for_each(first, last - first, [&](std::int64_t i, std::uint64_t bits) {
    product *= open_unit(bits);
    if (i % together != together - 1) return;
    time -= portable::log(product);
    product = 1.0;
  });
  return time - portable::log(product);
}

// Classes below 2^32 - 1: a bit for each where that makes at most `words` words of 64 for each that
// may be there, else a hash table.
class DistinctClasses {
 public:
  DistinctClasses(std::int64_t most, std::int64_t classes, std::int64_t words = 1) {
    if (classes / 64 / words <= most) {
      bits_.resize(static_cast<std::size_t>(classes / 64 + 1));
      return;
    }
    const auto slots = std::bit_ceil(2 * static_cast<std::uint64_t>(most) + 2);
    slots_.assign(slots, kNone);
    shift_ = 64 - std::countr_zero(slots);
  }

  // Whether it was not there.
  bool insert(std::int64_t id) {
    if (!bits_.empty()) {
      std::uint64_t& word = bits_[static_cast<std::size_t>(id >> 6)];
      const std::uint64_t bit = std::uint64_t{1} << (id & 63);
      const bool is_new = (word & bit) == 0;
      word |= bit;
      return is_new;
    }
    std::uint32_t& slot = slots_[find(id)];
    const bool is_new = slot == kNone;
    slot = static_cast<std::uint32_t>(id);
    return is_new;
  }
  bool contains(std::int64_t id) const {
    if (!bits_.empty()) return (bits_[static_cast<std::size_t>(id >> 6)] >> (id & 63) & 1) != 0;
    return slots_[find(id)] != kNone;
  }

  // Those that are not there take the place of those that are. Only of a set for `classes`.
  void complement(std::int64_t classes) {
    for (std::uint64_t& word : bits_) word = ~word;
    bits_.back() &= (std::uint64_t{1} << (classes & 63)) - 1;
  }

  // `count` classes are there.
  std::vector<std::int64_t> ascending(std::int64_t count) const {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(count));
    std::int64_t* to = ids.data();
    for (std::size_t i = 0; i < bits_.size(); ++i) {
      for (std::uint64_t word = bits_[i]; word != 0; word &= word - 1)
        *to++ = static_cast<std::int64_t>(i) * 64 + std::countr_zero(word);
    }
    for (const std::uint32_t id : slots_) {
      if (id != kNone) *to++ = id;
    }
    if (!slots_.empty()) std::ranges::sort(ids);
    return ids;
  }

 private:
  static constexpr std::uint32_t kNone = 0xffffffff;

  std::size_t find(std::int64_t id) const {
    const auto key = static_cast<std::uint64_t>(id);
    auto at = static_cast<std::size_t>(key * 0x9e3779b97f4a7c15 >> shift_);
    while (slots_[at] != kNone && slots_[at] != key) at = (at + 1) & (slots_.size() - 1);
    return at;
  }

  std::vector<std::uint64_t> bits_;
  std::vector<std::uint32_t> slots_;
  int shift_ = 0;
};

}  // namespace fastsoftmax
