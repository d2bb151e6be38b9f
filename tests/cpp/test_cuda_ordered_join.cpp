// Sums of blocks joined by a group of threads on the emulated device, against RowTotal::join of one
// after the other: the same doubles.
#include "emulated_kernels.h"

#include <array>
#include <bit>
#include <cmath>
#include <string>

#include "cuda/crew.h"
#include "run.h"

namespace tests {
namespace {

using cuda::BlockSum;
using cuda::RowTotal;

constexpr std::int64_t kLowest = -(1 << 18);  // exponents of scores
constexpr std::int64_t kHighest = 1 << 17;

// How exponents go on from one sum to the next.
struct Walk {
  const char* name;
  std::int64_t (*next)(Random& random, std::int64_t exponent);
};
template <std::int64_t From, std::int64_t To>
std::int64_t step(Random& random, std::int64_t exponent) {
  return exponent + From + random.below(To - From + 1);
}
constexpr std::array kWalks = {
    Walk{"equal", step<0, 0>},
    Walk{"by 1", step<-1, 1>},
    Walk{"by 100", step<-100, 100>},
    Walk{"anywhere",
         [](Random& random, std::int64_t) { return step<-kHighest, kHighest>(random, 0); }},
    Walk{"in jumps of about 1100",
         [](Random& random, std::int64_t exponent) {
           return random.chance(0.9) ? exponent : exponent + step<1000, 1180>(random, 0);
         }},
    Walk{"in jumps of about 256",
         [](Random& random, std::int64_t exponent) {
           if (random.chance(0.9)) return exponent;
           return exponent + (random.chance(0.5) ? 1 : -1) * step<250, 260>(random, 0);
         }},
    Walk{"slowly rising", step<0, 2>},
    Walk{"slowly falling", step<-2, 0>},
    Walk{"rising", step<10, 20>},
    Walk{"falling", step<-20, -10>}};

// How maxima do: a few values, of which the first counts; or others.
enum class Maxima { few, any, rising, falling };

// Sizes of numbers: 2^smallest, ..., 2^largest.
struct Sizes {
  int smallest;
  int largest;
};
template <class A>
constexpr bool kIsF32 = sizeof(typename A::T) == sizeof(float);
constexpr Sizes kUsual{64, 74};
template <class A>
constexpr int kSmallest = kIsF32<A> ? -126 : -1022;

// A positive number of two parts; such as sums of f32 terms are multiples of 2^-149.
template <class A>
cuda::Sum2 some_number(Random& random, const Sizes& sizes) {
  constexpr int of_last_bit = kIsF32<A> ? -149 : -1074;
  const auto bits = [&](int top) {
    const double v = std::ldexp(1.0 + random.uniform(), top);
    return kIsF32<A> ? std::ldexp(std::floor(std::ldexp(v, 149)), -149) : v;
  };
  const int top =
      sizes.smallest + static_cast<int>(random.below(sizes.largest - sizes.smallest + 1));
  const int top_of_rest = top - 55;
  const bool exact = random.chance(kIsF32<A> ? 0.7 : 0.2) || top_of_rest < of_last_bit;
  return {random.chance(0.2) ? std::ldexp(1.0, top) : bits(top),
          exact ? 0.0 : (random.chance(0.5) ? 1.0 : -1.0) * bits(top_of_rest)};
}

struct Kind {
  Walk walk;
  Maxima maxima;
  Sizes sizes;
  double zeros;          // share of sums that are zero
  double out_of_domain;  // share of those
};

template <class A, bool Log>
class Sums {
 public:
  Sums(Random& random, const Kind& kind)
      : random_(random), kind_(kind), exponent_(step<-1000, 1000>(random, 0)) {}

  std::vector<BlockSum> next(std::int64_t count) {
    std::vector<BlockSum> sums(static_cast<std::size_t>(count));
    for (BlockSum& sum : sums) sum = next();
    return sums;
  }

 private:
  BlockSum next() {
    exponent_ = std::clamp(kind_.walk.next(random_, exponent_), kLowest, kHighest);
    BlockSum sum{};
    sum.has_rest = Log;
    if (random_.chance(kind_.zeros)) {
      sum.exponent = kLowest;
      if (Log) sum.max = random_.chance(0.5) ? -kInfinity : -1e9;
      return sum;
    }
    const auto all = some_number<A>(random_, kind_.sizes);
    sum.hi = all.hi;
    sum.lo = all.lo;
    sum.exponent = static_cast<std::int32_t>(exponent_);
    if (random_.chance(kind_.out_of_domain)) {
      sum.exponent = cuda::kOutOfDomain;
      const double any[] = {0.0, sum.hi, kInfinity, std::nan("")};
      sum.hi = any[random_.below(4)];
    }
    if (!Log) return sum;
    const auto rest =
        random_.chance(0.1) ? cuda::Sum2{0.0, 0.0} : some_number<A>(random_, kind_.sizes);
    sum.rest_hi = rest.hi;
    sum.rest_lo = rest.lo;
    sum.max = next_max();
    if (sum.exponent == cuda::kOutOfDomain && random_.chance(0.5)) sum.max = std::nan("");
    return sum;
  }
  double next_max() {
    switch (kind_.maxima) {
      case Maxima::few:
        return static_cast<double>(random_.below(3)) - 1.0;
      case Maxima::any:
        return 100.0 * random_.normal();
      case Maxima::rising:
        return max_ += random_.uniform();
      default:
        return max_ -= random_.uniform();
    }
  }

  Random& random_;
  Kind kind_;
  std::int64_t exponent_;
  double max_ = 0.0;
};

template <class A, bool Log>
struct JoinInOrder {
  static constexpr int max_threads = 32;
  struct Call {
    RowTotal<Log>* total;
    std::vector<BlockSum>* sums;
  };
  // By the first group.
  static void run(const EmulatedTeam& team, const Call& call) {
    const cuda::Crew<EmulatedTeam, false> crew{&team};
    if (crew.group() == 0)
      cuda::join_in_order<A>(crew, *call.total, call.sums->data(),
                             static_cast<int>(call.sums->size()));
  }
};

// Which of its numbers differ; nullptr if none does. What exponent a sum of zero has is no matter.
template <bool Log>
const char* difference(const RowTotal<Log>& a, const RowTotal<Log>& b) {
  const auto differ = [](double x, double y) {
    return std::bit_cast<std::uint64_t>(x) != std::bit_cast<std::uint64_t>(y);
  };
  const bool zero = a.all.hi == 0.0 && a.all.lo == 0.0;
  if (differ(a.all.hi, b.all.hi)) return "hi";
  if (differ(a.all.lo, b.all.lo)) return "lo";
  if (!zero && a.all.exponent != b.all.exponent) return "exponent";
  if (a.out_of_domain != b.out_of_domain) return "out of domain";
  if (!Log) return nullptr;
  if (differ(a.rest.hi, b.rest.hi)) return "hi of the rest";
  if (differ(a.rest.lo, b.rest.lo)) return "lo of the rest";
  if (!zero && a.rest.exponent != b.rest.exponent) return "exponent of the rest";
  if (differ(a.max, b.max)) return "max";
  return nullptr;
}

// body(kind) so many times for all that sums may be.
template <class A, class Body>
void for_each_kind(Random& random, int turns, Body&& body) {
  constexpr std::array sizes = {kUsual, Sizes{kSmallest<A>, kUsual.largest},
                                Sizes{kSmallest<A>, kSmallest<A> + 60}};
  for (const Walk& walk : kWalks) {
    for (const Maxima maxima : {Maxima::few, Maxima::any, Maxima::rising, Maxima::falling}) {
      for (int turn = 0; turn < turns; ++turn) {
        const double zeros = random.chance(0.5) ? 0.0 : random.chance(0.8) ? 0.2 : 0.97;
        const double out_of_domain = random.chance(0.7) ? 0.0 : 0.02;
        body(Kind{walk, maxima, sizes[static_cast<std::size_t>(turn) % sizes.size()], zeros,
                  out_of_domain});
      }
    }
  }
}

TEST_CASE_TEMPLATE("sums joined by a group are those joined one after the other", A, cuda::F32,
                   cuda::F64) {
  Random random(1);
  Tally tally;
  const auto check = [&]<bool Log>(const Kind& kind, std::bool_constant<Log>) {
    Sums<A, Log> sums(random, kind);
    RowTotal<Log> expected, total;
    for (std::int64_t calls = 1 + random.below(4); calls > 0; --calls) {
      const std::int64_t most[] = {4, 20, 300};
      std::vector<BlockSum> given = sums.next(random.below(1 + most[random.below(3)]));
      const std::size_t count = given.size();
      for (const BlockSum& sum : given) expected.join(sum);
      EmulatedLauncher launcher{random.chance(0.5) ? &random : nullptr};
      launcher.launch<JoinInOrder<A, Log>>(1, 32, 0,
                                           typename JoinInOrder<A, Log>::Call{&total, &given});
      const char* const part = difference(expected, total);
      tally.expect(part == nullptr, [&] {
        return std::string(part) + " of " + std::to_string(count) + " sums, exponents " +
               kind.walk.name + (Log ? ", with the maximum apart" : "");
      });
    }
  };
  for_each_kind<A>(random, 30, [&](const Kind& kind) {
    check(kind, std::false_type{});
    check(kind, std::true_type{});
  });
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 5000);
}

TEST_CASE_TEMPLATE("the total of one sum is what joining it makes", A, cuda::F32, cuda::F64) {
  Random random(2);
  const auto check = [&]<bool Log>(const Kind& kind, std::bool_constant<Log>) {
    for (const BlockSum& sum : Sums<A, Log>(random, kind).next(20)) {
      RowTotal<Log> expected;
      expected.join(sum);
      CHECK(difference(expected, RowTotal<Log>::of(sum)) == nullptr);
    }
  };
  for_each_kind<A>(random, 3, [&](const Kind& kind) {
    check(kind, std::false_type{});
    check(kind, std::true_type{});
  });
}

}  // namespace
}  // namespace tests
