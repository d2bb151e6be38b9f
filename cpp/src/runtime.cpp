#include "fastsoftmax/runtime.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "affinity.h"
#include "fastsoftmax/version.h"
#include "threads.h"

namespace fastsoftmax {
namespace {

// 0: not known yet, or to be found out again.
constinit std::atomic<int> threads_in_use{0};

std::string_view trimmed(std::string_view text) noexcept {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

// 0 for anything but a positive decimal number; numbers beyond kMaxThreads are cut down to it.
int parse_threads(std::string_view text) noexcept {
  text = trimmed(text);
  int value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (rest != end) return 0;
  if (error == std::errc::result_out_of_range) return text.starts_with('-') ? 0 : kMaxThreads;
  if (error != std::errc{}) return 0;
  return std::clamp(value, 0, kMaxThreads);
}

std::string_view environment(const char* variable) noexcept {
  const char* const value = std::getenv(variable);
  return value != nullptr ? value : std::string_view{};
}

int default_threads() noexcept {
  const int ours = parse_threads(environment("FASTSOFTMAX_NUM_THREADS"));
  if (ours > 0) return ours;
  // A list gives one number per level of nested parallelism.
  const std::string_view list = environment("OMP_NUM_THREADS");
  const int open_mp = parse_threads(list.substr(0, list.find(',')));
  if (open_mp > 0) return open_mp;
  return std::min(available_cpus(), kMaxThreads);
}

}  // namespace

const char* version() noexcept { return FASTSOFTMAX_VERSION; }

const char* compiler() noexcept {
#if defined(__clang__)
  return "Clang " __clang_version__;
#elif defined(__GNUC__)
  return "GCC " __VERSION__;
#else
  return "unknown";
#endif
}

int num_threads() noexcept {
  int threads = threads_in_use.load(std::memory_order_relaxed);
  if (threads != 0) return threads;
  const int found = default_threads();
  // Whatever another thread has set meanwhile holds.
  return threads_in_use.compare_exchange_strong(threads, found, std::memory_order_relaxed)
             ? found
             : threads;
}

void set_num_threads(int n) {
  if (n < 0 || n > kMaxThreads) {
    throw InvalidArgument("number of threads must be between 1 and " + std::to_string(kMaxThreads) +
                          ", or 0 for the default; got " + std::to_string(n));
  }
  threads_in_use.store(n, std::memory_order_relaxed);
}

}  // namespace fastsoftmax
