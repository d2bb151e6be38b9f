// Names and types, choice of the instruction set, number of threads.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "affinity.h"
#include "child_process.h"
#include "cpu.h"
#include "dispatch.h"
#include "fastsoftmax/runtime.hpp"
#include "fastsoftmax/types.hpp"
#include "fastsoftmax/version.h"

namespace fs = fastsoftmax;

namespace {

std::string error_of(void (*action)()) {
  try {
    action();
  } catch (const fs::Error& error) {
    return error.what();
  }
  return "";
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// Whether num_threads() is `expected` with these variables; null: not set.
bool threads_are(int expected, const char* ours, const char* open_mp) {
  return in_child([&] {
           unsetenv("FASTSOFTMAX_NUM_THREADS");
           unsetenv("OMP_NUM_THREADS");
           if (ours != nullptr) setenv("FASTSOFTMAX_NUM_THREADS", ours, 1);
           if (open_mp != nullptr) setenv("OMP_NUM_THREADS", open_mp, 1);
           fs::set_num_threads(0);
           return fs::num_threads() == expected ? 0 : 1;
         }) == 0;
}

}  // namespace

TEST_CASE("runtime: version and compiler") {
  CHECK(std::string(fs::version()) == FASTSOFTMAX_VERSION);
  CHECK((has(fs::compiler(), "GCC ") || has(fs::compiler(), "Clang ")));
}

TEST_CASE("runtime: element types") {
  using enum fs::DType;
  struct Row {
    fs::DType dtype;
    std::string_view name;
    int itemsize;
    fs::DType result;
  };
  const Row rows[] = {
      {f16, "float16", 2, f16}, {bf16, "bfloat16", 2, bf16}, {f32, "float32", 4, f32},
      {f64, "float64", 8, f64}, {i8, "int8", 1, f64},        {i16, "int16", 2, f64},
      {i32, "int32", 4, f64},   {i64, "int64", 8, f64},      {u8, "uint8", 1, f64},
      {u16, "uint16", 2, f64},  {u32, "uint32", 4, f64},     {u64, "uint64", 8, f64},
      {boolean, "bool", 1, f64}};
  for (const Row& row : rows) {
    CHECK(fs::name(row.dtype) == row.name);
    CHECK(fs::itemsize(row.dtype) == row.itemsize);
    CHECK(fs::result_dtype(row.dtype) == row.result);
    CHECK(fs::is_floating(row.dtype) == (row.result == row.dtype));
  }
}

TEST_CASE("runtime: names of algorithms, operations and instruction sets") {
  using enum fs::Algorithm;
  for (const auto algorithm :
       {automatic, three_pass_reload, three_pass_recompute, two_pass, online, online_reload}) {
    CHECK(fs::parse_algorithm(fs::name(algorithm)) == algorithm);
  }
  CHECK(fs::name(automatic) == "auto");
  CHECK(fs::name(three_pass_recompute) == "three_pass_recompute");
  for (const char* wrong : {"", "automatic", "two-pass", "TWO_PASS", "online "}) {
    CHECK_THROWS_AS(fs::parse_algorithm(wrong), fs::InvalidArgument);
  }
  CHECK(error_of([] { fs::parse_algorithm("fast"); }) ==
        "unknown algorithm 'fast', expected one of 'auto', 'three_pass_reload', "
        "'three_pass_recompute', 'two_pass', 'online', 'online_reload'");
  CHECK(fs::name(fs::Op::log_softmax) == "log_softmax");
  CHECK(fs::name(fs::Op::logsumexp) == "logsumexp");
  CHECK(fs::name(fs::Isa::neon) == "neon");
  CHECK(fs::name(fs::Isa::avx512) == "avx512");
}

TEST_CASE("runtime: use_isa changes the kernels, and refuses what cannot run") {
  const fs::Isa before = fs::isa_in_use();
  for (const fs::Isa isa : fs::isas_supported()) {
    fs::use_isa(isa);
    CHECK(fs::isa_in_use() == isa);
    CHECK(std::string_view(fs::kernels_in_use().name) == fs::name(isa));
  }
  const auto built = fs::isas_built();
  for (const fs::Isa isa : {fs::Isa::neon, fs::Isa::avx2, fs::Isa::avx512}) {
    if (fs::cpu_supports(isa) && std::count(built.begin(), built.end(), isa) == 1) continue;
    fs::use_isa(fs::Isa::scalar);
    CHECK_THROWS_AS(fs::use_isa(isa), fs::UnsupportedIsa);
    CHECK(fs::isa_in_use() == fs::Isa::scalar);
  }
#ifdef __x86_64__
  const std::string message = error_of([] { fs::use_isa(fs::Isa::neon); });
  CHECK(has(message, "use_isa(neon): not built into this library (built: "));
  CHECK(has(message, "scalar; supported here: "));
#endif
  fs::use_isa(before);
}

TEST_CASE("runtime: FASTSOFTMAX_ISA chooses") {
  const auto choice = [](const char* value) {
    setenv("FASTSOFTMAX_ISA", value, 1);
    fs::reset_isa();
    return fs::isa_in_use();
  };
  CHECK(in_child([&] { return choice("scalar") == fs::Isa::scalar ? 0 : 1; }) == 0);
  CHECK(in_child([&] { return choice("Scalar") == fs::Isa::scalar ? 0 : 1; }) == 0);
  for (const fs::Isa isa : fs::isas_supported()) {
    const std::string value(fs::name(isa));
    CHECK(in_child([&] { return choice(value.c_str()) == isa ? 0 : 1; }) == 0);
  }
  CHECK(in_child([&] { return choice("") == fs::isas_supported().front() ? 0 : 1; }) == 0);
  CHECK(in_child([&] {
          try {
            choice("sse9");
            return 1;
          } catch (const fs::UnsupportedIsa& error) {
            const std::string expected =
                "FASTSOFTMAX_ISA=sse9: unknown instruction set, expected one of scalar, neon, "
                "avx2, avx512 (built: ";
            if (!has(error.what(), expected)) return 2;
          }
          try {
            fs::kernels_in_use();
            return 3;  // the mistake is reported until something valid is set
          } catch (const fs::UnsupportedIsa&) {
          }
          fs::use_isa(fs::Isa::scalar);
          return fs::isa_in_use() == fs::Isa::scalar ? 0 : 4;
        }) == 0);
#ifdef __x86_64__
  CHECK(in_child([&] { return choice("neon") == fs::Isa::neon ? 1 : 2; }) == kThrew);
#endif
}

TEST_CASE("runtime: the first use from several threads agrees") {
  const fs::Isa before = fs::isa_in_use();
  fs::use_isa(before);
  fs::reset_isa();
  std::vector<const fs::kernels::KernelTable*> seen(4);
  std::vector<std::thread> threads;
  threads.reserve(seen.size());
  for (auto& table : seen) threads.emplace_back([&table] { table = &fs::kernels_in_use(); });
  for (auto& thread : threads) thread.join();
  for (const auto* table : seen) CHECK(table == seen.front());
  fs::use_isa(before);
}

TEST_CASE("runtime: set_num_threads") {
  CHECK(fs::num_threads() >= 1);
  fs::set_num_threads(3);
  CHECK(fs::num_threads() == 3);
  for (const int wrong : {-1, 1025}) {
    CHECK_THROWS_AS(fs::set_num_threads(wrong), fs::InvalidArgument);
    CHECK(fs::num_threads() == 3);
  }
  CHECK(error_of([] { fs::set_num_threads(-4); }) ==
        "number of threads must be between 1 and 1024, or 0 for the default; got -4");
  fs::set_num_threads(0);
  CHECK(fs::num_threads() >= 1);
}

TEST_CASE("runtime: threads from the environment") {
  const int machine = fs::available_cpus();
  CHECK(threads_are(5, "5", nullptr));
  CHECK(threads_are(5, "5", "7"));
  CHECK(threads_are(7, nullptr, "7"));
  CHECK(threads_are(4, nullptr, "4,2"));
  CHECK(threads_are(4, nullptr, " 4 , 2"));
  CHECK(threads_are(6, " 6\n", nullptr));
  CHECK(threads_are(1024, "5000", nullptr));
  CHECK(threads_are(1024, "99999999999999999999", nullptr));
  CHECK(threads_are(machine, nullptr, nullptr));
  for (const char* invalid :
       {"", " ", "0", "-3", "-99999999999999999999", "two", "3.5", "4x", "4,2", "0x8"}) {
    CAPTURE(invalid);
    CHECK(threads_are(7, invalid, "7"));
  }
  for (const char* invalid : {"", "0", "-1", "all", ",4", "0,4"}) {
    CAPTURE(invalid);
    CHECK(threads_are(machine, nullptr, invalid));
  }
}
