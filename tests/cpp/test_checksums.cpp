// A fixed corpus and the checksums of its results, made by the scalar kernels with
// three_pass_recompute. Whatever runs this, every algorithm must reproduce them.
//
// A change that is meant to change bits (docs/numerics.md, the contract) needs a new table:
//   FASTSOFTMAX_WRITE_CHECKSUMS=tests/cpp/checksums.inc fastsoftmax_tests --test-suite=checksums
#include <cstdlib>
#include <fstream>

#include "run.h"

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

void write_table(const char* path) {
  const UseIsa scalar(fs::Isa::scalar);
  std::ofstream file(path);
  for (const Group& group : groups()) {
    for (const fs::DType dtype : kFloatTypes) {
      for (const fs::Op op : kOps) {
        char value[32];
        std::snprintf(value, sizeof value, "0x%016llx",
                      static_cast<unsigned long long>(
                          checksum(group, op, dtype, fs::Algorithm::three_pass_recompute)));
        file << "    {\"" << fs::name(op) << "\", \"" << fs::name(dtype) << "\", \"" << group.name
             << "\", " << value << "},\n";
      }
    }
  }
  REQUIRE(file.flush().good());
}

const Checksum* find(fs::Op op, fs::DType dtype, std::string_view group) {
  for (const Checksum& c : kChecksums) {
    if (c.op == fs::name(op) && c.dtype == fs::name(dtype) && c.group == group) return &c;
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
          const Checksum* const expected = find(op, dtype, group.name);
          REQUIRE(expected != nullptr);
          for (const fs::Algorithm algorithm : kAlgorithms) {
            INFO(describe(op, dtype, algorithm) << ", " << group.name);
            CHECK(checksum(group, op, dtype, algorithm) == expected->value);
          }
        }
      }
    }
    MESSAGE("compared on " << fs::name(fs::isa_in_use()));
  }
}
