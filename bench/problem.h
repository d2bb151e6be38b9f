// What the benchmark programs share: instruction sets and their kernels, row lengths, inputs in
// memory that has been touched, counters, and a main program.
#pragma once

#include <benchmark/benchmark.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "dispatch.h"
#include "fastsoftmax/runtime.hpp"
#include "fastsoftmax/types.hpp"

#define FASTSOFTMAX_ISA baseline
#include "simd/half.h"

namespace fastsoftmax::bench {

inline constexpr DType kTypes[] = {DType::f32, DType::f64, DType::f16, DType::bf16};

inline const char* short_name(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return "f64";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    default:
      return "f32";
  }
}

// "a/b/c" from strings and numbers.
inline std::string path(std::initializer_list<std::string_view> parts, std::int64_t length) {
  std::string text;
  for (const std::string_view part : parts) (text += part) += '/';
  return text + std::to_string(length);
}

// The kernels of a supported instruction set, which the public interface uses from here on too.
inline const kernels::KernelTable& kernels_of(Isa isa) {
  use_isa(isa);
  return kernels_in_use();
}

// Powers of four from 2^first on, up to 2^last.
inline std::vector<std::int64_t> lengths(int first, int last) {
  std::vector<std::int64_t> result;
  for (int log2 = first; log2 <= last; log2 += 2) result.push_back(std::int64_t{1} << log2);
  return result;
}

// Memory that only grows and whose pages are there before anything is timed. Large blocks ask for
// huge pages, as NumPy does for its arrays.
class Memory {
 public:
  // Aligned to a page; contents are lost when it grows.
  char* at_least(std::size_t bytes) {
    if (bytes > size_) {
      const std::size_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
      memory_.reset();
      memory_.reset(static_cast<char*>(std::aligned_alloc(kHugePage, rounded)));
      if (memory_ == nullptr) throw std::bad_alloc();
      // Where the system has no huge pages, small ones do.
      static_cast<void>(madvise(memory_.get(), rounded, MADV_HUGEPAGE));
      std::memset(memory_.get(), 0, rounded);
      size_ = rounded;
    }
    return memory_.get();
  }
  std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  std::unique_ptr<char, Free> memory_;
  std::size_t size_ = 0;
};

// Normal numbers with a standard deviation of 3, the same in every run.
inline const std::vector<float>& normals() {
  static const std::vector<float> values = [] {
    std::vector<float> drawn(std::size_t{1} << 20);
    std::mt19937_64 generator(1);
    std::normal_distribution<float> normal(0.0F, 3.0F);
    for (float& v : drawn) v = normal(generator);
    return drawn;
  }();
  return values;
}

template <class T>
std::vector<char> converted(const std::vector<float>& values) {
  std::vector<char> bytes(values.size() * sizeof(T));
  for (std::size_t i = 0; i < values.size(); ++i) {
    T v;
    if constexpr (std::is_same_v<T, double>)
      v = static_cast<double>(values[i]);
    else
      baseline::from_f32(values[i], &v);
    std::memcpy(bytes.data() + i * sizeof(T), &v, sizeof(T));
  }
  return bytes;
}

inline std::vector<char> normals_as(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return converted<double>(normals());
    case DType::f16:
      return converted<f16>(normals());
    case DType::bf16:
      return converted<bf16>(normals());
    default:
      return converted<float>(normals());
  }
}

// `count` logits; 2^20 different ones, over and over. The same memory for all benchmarks of a type.
inline const char* logits(DType dtype, std::int64_t count) {
  static Memory memory[std::size(kTypes)];
  const auto at = std::find(std::begin(kTypes), std::end(kTypes), dtype) - std::begin(kTypes);
  Memory& own = memory[at];
  const std::size_t before = own.size();
  char* const x = own.at_least(static_cast<std::size_t>(count * itemsize(dtype)));
  if (own.size() != before) {
    const std::vector<char> values = normals_as(dtype);
    for (std::size_t done = 0; done < own.size(); done += values.size())
      std::memcpy(x + done, values.data(), std::min(values.size(), own.size() - done));
  }
  return x;
}

// Memory for results; the same for all benchmarks.
inline char* results(std::int64_t bytes) {
  static Memory memory;
  return memory.at_least(static_cast<std::size_t>(bytes));
}

// Reads every byte and nothing else: the exclusive or of all 64-bit words. `bytes` is a multiple of
// 128. Registers of 16 bytes, which every x86-64 has, are enough from L2 on.
inline std::uint64_t read_all(const char* x, std::int64_t bytes) {
  using Words = std::uint64_t __attribute__((vector_size(16)));
  Words sums[8] = {};
  for (std::int64_t i = 0; i < bytes; i += 128) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      Words v;
      std::memcpy(&v, x + i + j * 16, sizeof v);
      sums[j] ^= v;
    }
  }
  Words all{};
  for (const Words& v : sums) all ^= v;
  return all[0] ^ all[1];
}

// CPU time of the calling thread, as google-benchmark's column CPU counts it.
inline constexpr clockid_t kThreadTime = CLOCK_THREAD_CPUTIME_ID;
// What passes on the wall: for several threads.
inline constexpr clockid_t kElapsedTime = CLOCK_MONOTONIC;

inline double now_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// Times once(), after a first call that does not count; it works on `elements` elements in memory
// that outlives it and moves `bytes`.
// ns_per_element is not one of google-benchmark's rates, because it prints those as seconds.
template <class Once>
void measure(benchmark::State& state, std::int64_t elements, std::int64_t bytes, Once&& once,
             clockid_t clock = kThreadTime) {
  once();
  const double start = now_ns(clock);
  for (auto _ : state) {
    once();
    benchmark::ClobberMemory();
  }
  const double spent = now_ns(clock) - start;
  const auto iterations = static_cast<std::int64_t>(state.iterations());
  state.SetItemsProcessed(iterations * elements);
  state.SetBytesProcessed(iterations * bytes);
  state.counters["ns_per_element"] = spent / static_cast<double>(iterations * elements);
}

// Takes --max_log2=N out of the arguments: the longest rows have 2^N elements.
inline int take_max_log2(int& argc, char** argv, int preset) {
  constexpr std::string_view flag = "--max_log2=";
  int value = preset;
  int kept = 0;
  for (int i = 0; i < argc; ++i) {
    const std::string_view text = argv[i];
    if (!text.starts_with(flag)) {
      argv[kept++] = argv[i];
      continue;
    }
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data() + flag.size(), end, value);
    if (error != std::errc{} || rest != end || value < 4 || value > 32) {
      std::fprintf(stderr, "%s: expected --max_log2=<4 to 32>\n", argv[i]);
      std::exit(2);
    }
  }
  argc = kept;
  argv[argc] = nullptr;
  return value;
}

// The main program: `add(max_log2)` registers the benchmarks.
template <class Add>
int run_benchmarks(int argc, char** argv, Add add) {
  const int max_log2 = take_max_log2(argc, argv, 24);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const Caches& sizes = caches();
  benchmark::AddCustomContext("fastsoftmax", version());
  benchmark::AddCustomContext("compiler", compiler());
  benchmark::AddCustomContext("caches", std::to_string(sizes.l1) + ", " + std::to_string(sizes.l2) +
                                            ", " + std::to_string(sizes.last_level) + " bytes");
  add(max_log2);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace fastsoftmax::bench
