// Vocabulary of the public interface: element types, algorithms, instruction sets, errors.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string_view>

namespace fastsoftmax {

enum class DType : std::uint8_t {
  f16,
  bf16,
  f32,
  f64,
  i8,
  i16,
  i32,
  i64,
  u8,
  u16,
  u32,
  u64,
  boolean
};

// Bytes per element.
int itemsize(DType dtype) noexcept;
std::string_view name(DType dtype) noexcept;  // NumPy's, such as "float32"
bool is_floating(DType dtype) noexcept;
// The type that results have: floating types stay, integers and booleans become f64.
DType result_dtype(DType dtype) noexcept;

enum class Op : std::uint8_t { softmax, log_softmax, logsumexp };

// How often a row is read (R) and written (W) when it does not fit in cache. All give the same
// bits; see docs/numerics.md.
enum class Algorithm : std::uint8_t {
  automatic,             // the plan chooses
  three_pass_reload,     // max; exponentials stored and summed; scaled in place: 3R + 2W
  three_pass_recompute,  // max; sum; exponentials again: 3R + 1W
  two_pass,              // (mantissa, exponent) accumulators per lane: 2R + 1W
  online,                // running normalizer, block by block: 2R + 1W
  online_reload          // likewise, exponentials stored and scaled in place: 2R + 2W
};

// Accepts "auto" and the enumerators' names; throws InvalidArgument.
Algorithm parse_algorithm(std::string_view text);
std::string_view name(Algorithm algorithm) noexcept;
std::string_view name(Op op) noexcept;

// What softmax writes for a row that is all -inf or that admits nothing: NaN, or zeros
// (log_softmax: -inf).
enum class EmptyRow : std::uint8_t { nan, zero };

enum class Isa : std::uint8_t { scalar, neon, avx2, avx512 };
std::string_view name(Isa isa) noexcept;

// Base of everything the library throws besides std::bad_alloc.
class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A shape, stride, dtype, axis, option or overlap that the operation cannot accept.
class InvalidArgument : public Error {
  using Error::Error;
};

// An axis outside [-ndim, ndim).
class InvalidAxis : public InvalidArgument {
  using InvalidArgument::InvalidArgument;
};

// An element that an axis does not have.
class InvalidIndex : public InvalidArgument {
  using InvalidArgument::InvalidArgument;
};

// A dtype that the operation does not support.
class InvalidType : public InvalidArgument {
  using InvalidArgument::InvalidArgument;
};

// An instruction set that was not built, that this CPU lacks, or whose name is unknown.
class UnsupportedIsa : public Error {
  using Error::Error;
};

}  // namespace fastsoftmax
