#include "cpu.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <new>
#include <string_view>

#include "affinity.h"
#include "text_file.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#define FASTSOFTMAX_X86 1
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace fastsoftmax {
namespace {

// Sizes in bytes of levels 1 to 3; 0 where unknown.
using Levels = std::array<std::int64_t, 3>;

std::optional<Caches> from_levels(const Levels& levels) noexcept {
  if (levels[0] <= 0) return std::nullopt;
  Caches found;
  found.l1 = levels[0];
  found.l2 = levels[1] > 0 ? levels[1] : found.l1;
  found.last_level = std::max(levels[2], found.l2);
  return found;
}

#ifdef FASTSOFTMAX_X86

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// All zero where the CPU has no such leaf.
Registers cpuid(unsigned leaf, unsigned subleaf = 0) noexcept {
  Registers r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

constexpr bool bit(unsigned word, int position) noexcept { return ((word >> position) & 1u) != 0; }

// Register states that the operating system saves on a context switch. Only with OSXSAVE.
unsigned saved_states() noexcept {
  unsigned low = 0;
  unsigned high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

bool x86_supports(Isa isa) noexcept {
  constexpr unsigned kYmmStates = 0x06;  // xmm, upper halves of ymm
  constexpr unsigned kZmmStates = 0xe6;  // and opmasks, upper halves of zmm0-15, zmm16-31
  const Registers basic = cpuid(1);
  const bool osxsave = bit(basic.ecx, 27);
  const bool avx = bit(basic.ecx, 28);
  if (!osxsave || !avx) return false;
  const unsigned states = saved_states();
  const Registers extended = cpuid(7);
  const bool fma = bit(basic.ecx, 12);
  const bool f16c = bit(basic.ecx, 29);
  const bool avx2 = bit(extended.ebx, 5);
  if (!fma || !f16c || !avx2 || (states & kYmmStates) != kYmmStates) return false;
  if (isa == Isa::avx2) return true;
  const bool f = bit(extended.ebx, 16);
  const bool dq = bit(extended.ebx, 17);
  const bool bw = bit(extended.ebx, 30);
  const bool vl = bit(extended.ebx, 31);
  return f && dq && bw && vl && (states & kZmmStates) == kZmmStates;
}

// Leaf 4 (Intel) and leaf 0x8000001D (AMD) describe one cache per subleaf in the same layout.
std::optional<Caches> caches_from_cpuid_leaf(unsigned leaf) noexcept {
  Levels levels{};
  for (unsigned index = 0; index < 16; ++index) {
    const Registers r = cpuid(leaf, index);
    const unsigned type = r.eax & 0x1f;  // 0: no more, 1: data, 2: instructions, 3: unified
    const unsigned level = (r.eax >> 5) & 0x7;
    if (type == 0) break;
    if (type == 2 || level < 1 || level > levels.size()) continue;
    const std::int64_t ways = (r.ebx >> 22) + 1;
    const std::int64_t partitions = ((r.ebx >> 12) & 0x3ff) + 1;
    const std::int64_t line = (r.ebx & 0xfff) + 1;
    const std::int64_t sets = std::int64_t{r.ecx} + 1;
    levels[level - 1] = ways * partitions * line * sets;
  }
  return from_levels(levels);
}

std::optional<Caches> caches_from_cpuid() noexcept {
  const bool amd_topology = bit(cpuid(0x80000001).ecx, 22);
  if (amd_topology) {
    if (auto found = caches_from_cpuid_leaf(0x8000001d)) return found;
  }
  return caches_from_cpuid_leaf(4);
}

#endif

// The smallest of the first and the last CPU this process may use: where kinds of cores are mixed,
// the numbering puts one kind first and the other last.
std::optional<Caches> caches_from_sysfs_of_affinity() {
  std::optional<Caches> smallest;
  const CpuRange range = affinity_range();
  for (const int cpu : {range.first, range.last}) {
    const auto found =
        caches_from_sysfs("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/cache");
    if (!found) continue;
    if (!smallest) {
      smallest = found;
      continue;
    }
    smallest->l1 = std::min(smallest->l1, found->l1);
    smallest->l2 = std::min(smallest->l2, found->l2);
    smallest->last_level = std::min(smallest->last_level, found->last_level);
  }
  return smallest;
}

std::optional<Caches> caches_from_system() noexcept {
  Levels levels{};
#if defined(__APPLE__)
  constexpr std::array<const char*, 3> kNames = {"hw.l1dcachesize", "hw.l2cachesize",
                                                 "hw.l3cachesize"};
  for (std::size_t i = 0; i < levels.size(); ++i) {
    std::int64_t value = 0;
    std::size_t size = sizeof(value);
    if (sysctlbyname(kNames[i], &value, &size, nullptr, 0) == 0) levels[i] = value;
  }
#elif defined(_SC_LEVEL1_DCACHE_SIZE)
  levels = {sysconf(_SC_LEVEL1_DCACHE_SIZE), sysconf(_SC_LEVEL2_CACHE_SIZE),
            sysconf(_SC_LEVEL3_CACHE_SIZE)};
#endif
  return from_levels(levels);
}

Caches read_caches() noexcept {
  try {
    if (auto found = caches_from_sysfs_of_affinity()) return *found;
  } catch (...) {  // out of memory; the sources below need none
  }
#ifdef FASTSOFTMAX_X86
  if (auto found = caches_from_cpuid()) return *found;
#endif
  return caches_from_system().value_or(Caches{});
}

// "48K" or "32M" in bytes; 0 for anything else.
std::int64_t parse_size(std::string_view text) noexcept {
  int shift = 0;
  if (text.ends_with('K')) shift = 10;
  if (text.ends_with('M')) shift = 20;
  if (shift != 0) text.remove_suffix(1);
  const std::int64_t value = parse_number(text).value_or(0);
  return value > 0 && value < (std::int64_t{1} << 32) ? value << shift : 0;
}

}  // namespace

bool cpu_supports(Isa isa) noexcept {
  switch (isa) {
    case Isa::scalar:
      return true;
    case Isa::neon:
#if defined(__aarch64__)
      return true;
#else
      return false;
#endif
    case Isa::avx2:
    case Isa::avx512:
#ifdef FASTSOFTMAX_X86
      return x86_supports(isa);
#else
      return false;
#endif
  }
  return false;
}

std::string cpu_model() {
  std::string model;
#if defined(FASTSOFTMAX_X86)
  std::array<unsigned, 12> words{};
  for (unsigned i = 0; i < 3; ++i) {
    const Registers r = cpuid(0x80000002 + i);
    std::ranges::copy(std::array{r.eax, r.ebx, r.ecx, r.edx}, words.begin() + 4 * i);
  }
  std::array<char, sizeof words + 1> brand{};
  std::memcpy(brand.data(), words.data(), sizeof words);
  model = std::string(brand.data()) + ", signature " + std::to_string(cpuid(1).eax);
#elif defined(__APPLE__)
  std::array<char, 256> brand{};
  std::size_t size = brand.size() - 1;
  if (sysctlbyname("machdep.cpu.brand_string", brand.data(), &size, nullptr, 0) == 0)
    model = brand.data();
#else
  model = first_word("/sys/devices/system/cpu/cpu0/regs/identification/midr_el1");
#endif
  std::erase_if(model, [](char c) { return c < ' ' || c > '~'; });
  return model.empty() ? "unknown" : model;
}

std::optional<Caches> caches_from_sysfs(const std::string& directory) {
  Levels levels{};
  for (int index = 0; index < 16; ++index) {
    const std::string cache = directory + "/index" + std::to_string(index);
    const std::string type = first_word(cache + "/type");
    if (type.empty()) break;
    if (type != "Data" && type != "Unified") continue;
    const std::int64_t level = parse_number(first_word(cache + "/level")).value_or(0);
    const std::int64_t size = parse_size(first_word(cache + "/size"));
    if (level >= 1 && level <= std::int64_t{levels.size()}) {
      levels[static_cast<std::size_t>(level - 1)] = size;
    }
  }
  return from_levels(levels);
}

// Not a function-local static: its guard, taken by another thread at the moment of a fork, would
// stay taken in the child.
const Caches& caches() noexcept {
  static std::atomic<const Caches*> known{nullptr};
  const Caches* found = known.load(std::memory_order_acquire);
  if (found != nullptr) return *found;
  const Caches* const fresh = new (std::nothrow) Caches(read_caches());
  if (fresh == nullptr) {
    static constexpr Caches kDefaults;
    return kDefaults;
  }
  if (known.compare_exchange_strong(found, fresh, std::memory_order_acq_rel)) return *fresh;
  delete fresh;
  return *found;
}

}  // namespace fastsoftmax
