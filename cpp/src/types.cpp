#include "fastsoftmax/types.hpp"

#include <array>
#include <string>

namespace fastsoftmax {
namespace {

struct DTypeTraits {
  std::string_view name;  // as NumPy and ml_dtypes write it
  int itemsize;
  bool floating;
};

// In the order of the enumerators.
constexpr std::array<DTypeTraits, 13> kDTypes = {{
    {"float16", 2, true},
    {"bfloat16", 2, true},
    {"float32", 4, true},
    {"float64", 8, true},
    {"int8", 1, false},
    {"int16", 2, false},
    {"int32", 4, false},
    {"int64", 8, false},
    {"uint8", 1, false},
    {"uint16", 2, false},
    {"uint32", 4, false},
    {"uint64", 8, false},
    {"bool", 1, false},
}};
static_assert(static_cast<std::size_t>(DType::boolean) + 1 == kDTypes.size());

constexpr std::array<std::string_view, 6> kAlgorithms = {
    "auto", "three_pass_reload", "three_pass_recompute", "two_pass", "online", "online_reload"};
constexpr std::array<std::string_view, 3> kOps = {"softmax", "log_softmax", "logsumexp"};
constexpr std::array<std::string_view, 4> kIsas = {"scalar", "neon", "avx2", "avx512"};

template <class Table, class Enum>
constexpr const auto& lookup(const Table& table, Enum value) noexcept {
  return table[static_cast<std::size_t>(value)];
}

}  // namespace

int itemsize(DType dtype) noexcept { return lookup(kDTypes, dtype).itemsize; }
std::string_view name(DType dtype) noexcept { return lookup(kDTypes, dtype).name; }
bool is_floating(DType dtype) noexcept { return lookup(kDTypes, dtype).floating; }
DType result_dtype(DType dtype) noexcept { return is_floating(dtype) ? dtype : DType::f64; }

Algorithm parse_algorithm(std::string_view text) {
  std::string expected;
  for (std::size_t i = 0; i < kAlgorithms.size(); ++i) {
    if (text == kAlgorithms[i]) return static_cast<Algorithm>(i);
    expected += (i == 0 ? "'" : ", '") + std::string(kAlgorithms[i]) + "'";
  }
  throw InvalidArgument("unknown algorithm '" + std::string(text) + "', expected one of " +
                        expected);
}

std::string_view name(Algorithm algorithm) noexcept { return lookup(kAlgorithms, algorithm); }
std::string_view name(Op op) noexcept { return lookup(kOps, op); }
std::string_view name(Isa isa) noexcept { return lookup(kIsas, isa); }

}  // namespace fastsoftmax
