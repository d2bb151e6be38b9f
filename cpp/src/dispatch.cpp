#include "dispatch.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "cpu.h"
#include "fastsoftmax/runtime.hpp"

namespace fastsoftmax {
namespace {

struct Entry {
  Isa isa;
  const kernels::KernelTable& (*table)() noexcept;
};

// Best first; the first that the CPU supports wins.
constexpr Entry kBuilt[] = {
#ifdef FASTSOFTMAX_HAVE_AVX512
    {Isa::avx512, kernels::avx512_table},
#endif
#ifdef FASTSOFTMAX_HAVE_AVX2
    {Isa::avx2, kernels::avx2_table},
#endif
#ifdef FASTSOFTMAX_HAVE_NEON
    {Isa::neon, kernels::neon_table},
#endif
    {Isa::scalar, kernels::scalar_table},
};

constexpr std::array kNamed = {Isa::scalar, Isa::neon, Isa::avx2, Isa::avx512};

constinit std::atomic<const kernels::KernelTable*> table_in_use{nullptr};

std::string list(const std::vector<Isa>& isas) {
  std::string text;
  for (const Isa isa : isas) {
    if (!text.empty()) text += ", ";
    text += name(isa);
  }
  return text;
}

std::string what_there_is() {
  return "built: " + list(isas_built()) + "; supported here: " + list(isas_supported());
}

const Entry* find(Isa isa) noexcept {
  const auto* const found = std::find_if(std::begin(kBuilt), std::end(kBuilt),
                                         [&](const Entry& e) { return e.isa == isa; });
  return found != std::end(kBuilt) ? found : nullptr;
}

// `asked` begins the message: where the wish came from.
const kernels::KernelTable& usable_table(Isa isa, const std::string& asked) {
  const Entry* const entry = find(isa);
  if (entry == nullptr) {
    throw UnsupportedIsa(asked + ": not built into this library (" + what_there_is() + ")");
  }
  if (!cpu_supports(isa)) {
    throw UnsupportedIsa(asked + ": not supported by this CPU (" + what_there_is() + ")");
  }
  return entry->table();
}

std::optional<Isa> parse_isa(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  for (const Isa isa : kNamed) {
    if (text == name(isa)) return isa;
  }
  return std::nullopt;
}

const kernels::KernelTable& default_table() {
  const char* const wish = std::getenv("FASTSOFTMAX_ISA");
  if (wish != nullptr && *wish != '\0') {
    const std::string asked = std::string("FASTSOFTMAX_ISA=") + wish;
    const auto isa = parse_isa(wish);
    if (!isa) {
      throw UnsupportedIsa(asked + ": unknown instruction set, expected one of " +
                           list({kNamed.begin(), kNamed.end()}) + " (" + what_there_is() + ")");
    }
    return usable_table(*isa, asked);
  }
  const auto* const best = std::find_if(std::begin(kBuilt), std::end(kBuilt),
                                        [](const Entry& e) { return cpu_supports(e.isa); });
  return best->table();  // scalar closes the list and is supported everywhere
}

const kernels::KernelTable& choose() {
  const kernels::KernelTable* seen = nullptr;
  const kernels::KernelTable& chosen = default_table();
  // Whatever another thread has set meanwhile holds.
  return table_in_use.compare_exchange_strong(seen, &chosen, std::memory_order_acq_rel) ? chosen
                                                                                        : *seen;
}

}  // namespace

const kernels::KernelTable& kernels_in_use() {
  const kernels::KernelTable* const table = table_in_use.load(std::memory_order_acquire);
  return table != nullptr ? *table : choose();
}

void reset_isa() noexcept { table_in_use.store(nullptr, std::memory_order_release); }

std::vector<Isa> isas_built() {
  std::vector<Isa> isas;
  for (const Entry& entry : kBuilt) isas.push_back(entry.isa);
  return isas;
}

std::vector<Isa> isas_supported() {
  std::vector<Isa> isas;
  for (const Entry& entry : kBuilt) {
    if (cpu_supports(entry.isa)) isas.push_back(entry.isa);
  }
  return isas;
}

Isa isa_in_use() {
  const kernels::KernelTable& table = kernels_in_use();
  const auto* const entry = std::find_if(std::begin(kBuilt), std::end(kBuilt),
                                         [&](const Entry& e) { return &e.table() == &table; });
  return entry->isa;
}

void use_isa(Isa isa) {
  table_in_use.store(&usable_table(isa, "use_isa(" + std::string(name(isa)) + ")"),
                     std::memory_order_release);
}

}  // namespace fastsoftmax
