// The 16-bit formats: the scalar conversions, those inside the kernels, and those of other types to
// the result's on the way in.
#define FASTSOFTMAX_ISA baseline
#include "simd/half.h"

#include "run.h"

using namespace tests;

namespace {

using fs::bf16;
using fs::f16;

template <class Half>
constexpr HalfFormat kFormat = kF16;
template <>
constexpr HalfFormat kFormat<bf16> = kBf16;

template <class Half>
std::uint16_t narrow(float v) {
  Half half;
  fs::baseline::from_f32(v, &half);
  return half.bits;
}

template <class Half>
float widen(int bits) {
  return fs::baseline::to_f32(Half{static_cast<std::uint16_t>(bits)});
}

template <class Half>
void check_all_values() {
  for (int bits = 0; bits < 65536; ++bits) {
    const double expected = from_half(static_cast<std::uint16_t>(bits), kFormat<Half>);
    const float actual = widen<Half>(bits);
    if (std::isnan(expected)) {
      REQUIRE(std::isnan(actual));
      REQUIRE(narrow<Half>(actual) == to_half(expected, kFormat<Half>));
      continue;
    }
    REQUIRE(static_cast<double>(actual) == expected);
    REQUIRE(std::signbit(actual) == std::signbit(expected));
    REQUIRE(narrow<Half>(actual) == bits);
  }
}

// At, and next to, the middle of every two neighbours; the next number after the largest counts as
// infinity's.
template <class Half>
void check_midpoints() {
  const auto infinity = to_half(kInfinity, kFormat<Half>);
  for (int bits = 0; bits < infinity; ++bits) {
    const double low = from_half(static_cast<std::uint16_t>(bits), kFormat<Half>);
    const double step = low - from_half(static_cast<std::uint16_t>(bits - 1), kFormat<Half>);
    const double high = bits + 1 == infinity
                            ? low + step
                            : from_half(static_cast<std::uint16_t>(bits + 1), kFormat<Half>);
    const auto middle = static_cast<float>(low + (high - low) / 2);
    REQUIRE(static_cast<double>(middle) == low + (high - low) / 2);
    for (const float sign : {1.0f, -1.0f}) {
      const int sign_bit = sign < 0 ? 0x8000 : 0;
      const auto towards = [&](float end) { return sign * std::nextafter(middle, end); };
      REQUIRE(narrow<Half>(sign * middle) == (sign_bit | (bits + (bits & 1))));
      REQUIRE(narrow<Half>(towards(0.0f)) == (sign_bit | bits));
      REQUIRE(narrow<Half>(towards(std::numeric_limits<float>::infinity())) ==
              (sign_bit | (bits + 1)));
    }
  }
}

template <class Half>
void check_random_floats() {
  Random random(8);
  for (int i = 0; i < 2000000; ++i) {
    const auto bits = static_cast<std::uint32_t>(random.bits());
    const float v = load<float>(&bits);
    if (narrow<Half>(v) != to_half(v, kFormat<Half>))
      FAIL_CHECK(std::to_string(v)
                 << ": " << narrow<Half>(v) << " instead of " << to_half(v, kFormat<Half>));
  }
}

// What gather.cpp makes of elements on their way to a row of `row_type`: a row of one element is
// its own logsumexp.
Bytes converted(fs::DType row_type, fs::DType x_type, const Bytes& element) {
  const Array x = dense(x_type, {1}, element);
  Array out = dense(row_type, {1});
  fs::Options options;
  options.dtype = row_type;
  fs::logsumexp(x.view(), out.out(), std::array{0}, options);
  return out.bytes;
}

template <class T>
void check_conversion(fs::DType row_type, fs::DType x_type, T value) {
  Bytes element(sizeof(T));
  store_as(element.data(), value);
  Bytes expected(item_bytes(row_type));
  put(row_type, expected.data(), get(x_type, element.data()));
  INFO(fs::name(x_type) << " " << hex(element.data(), sizeof(T)) << " to " << fs::name(row_type));
  CHECK(difference(row_type, expected, converted(row_type, x_type, element)) == "");
}

}  // namespace

TEST_CASE("half: every value there and back") {
  check_all_values<f16>();
  check_all_values<bf16>();
}

TEST_CASE("half: rounding at the middle between neighbours") {
  check_midpoints<f16>();
  check_midpoints<bf16>();
}

TEST_CASE("half: random floats") {
  check_random_floats<f16>();
  check_random_floats<bf16>();
}

TEST_CASE("half: NaNs become the canonical one") {
  for (const std::uint32_t bits :
       {0x7fc00000u, 0xffc00000u, 0x7f800001u, 0xff812345u, 0x7fffffffu}) {
    CHECK(narrow<f16>(load<float>(&bits)) == 0x7e00);
    CHECK(narrow<bf16>(load<float>(&bits)) == 0x7fc0);
  }
}

// f64 to f32 to f16 would round twice: just above the middle between two f16, by less than f32 can
// tell, is the larger of the two.
TEST_CASE("half: f64 and 64-bit integers round once") {
  Random random(9);
  for (const fs::DType row_type : {fs::DType::f16, fs::DType::bf16}) {
    const HalfFormat format = row_type == fs::DType::f16 ? kF16 : kBf16;
    for (int i = 0; i < 4000; ++i) {
      const auto bits = static_cast<std::uint16_t>(1 + random.below(0x7000));
      const double low = from_half(bits, format);
      const double high = from_half(static_cast<std::uint16_t>(bits + 1), format);
      const double middle = low + (high - low) / 2;
      for (const double sign : {1.0, -1.0}) {
        check_conversion(row_type, fs::DType::f64, sign * middle);
        check_conversion(row_type, fs::DType::f64, sign * std::nextafter(middle, kInfinity));
        check_conversion(row_type, fs::DType::f64, sign * std::nextafter(middle, 0.0));
      }
    }
  }
  for (const fs::DType row_type : kFloatTypes) {
    for (int i = 0; i < 4000; ++i) {
      // A few leading bits, then a run of zeros or ones, so that many are near the middle of two
      // numbers of some type.
      const auto head = static_cast<std::uint64_t>(1 + random.below(4095));
      const auto shift = random.below(52);
      const std::uint64_t middle = (2 * head + 1) << shift;
      for (const std::uint64_t v : {middle, middle - 1, middle + 1}) {
        check_conversion(row_type, fs::DType::u64, v);
        check_conversion(row_type, fs::DType::i64, static_cast<std::int64_t>(v));
        check_conversion(row_type, fs::DType::i64, -static_cast<std::int64_t>(v));
        check_conversion(row_type, fs::DType::u32, static_cast<std::uint32_t>(v));
        check_conversion(row_type, fs::DType::i32, static_cast<std::int32_t>(v));
      }
    }
  }
}
