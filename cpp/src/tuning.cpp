// Which constants are in use.
#include <atomic>
#include <exception>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "fastsoftmax/tune.hpp"
#include "tuning.h"
#include "tuning_file.h"

namespace fastsoftmax {
namespace {

// Immutable once published. Those that have been replaced stay, because a call in another thread
// may still follow one.
struct State {
  Machine machine;
  std::string origin;
  const State* older = nullptr;
};

constinit std::atomic<const State*> in_use{nullptr};

struct Found {
  PlanConstants constants;
  std::string origin;
};

Found look_up() {
  const PlanConstants defaults = default_constants(caches());
  std::string file;
  try {
    const std::string key = machine_key();
    const TuningPath path = tuning_path(key);
    if (path.file.empty()) return {defaults, "defaults (" + path.reason + ")"};
    file = path.file.string();
    const auto stored = read_tuning(path.file, key);
    if (stored) return {*stored, "measured, from " + file};
    return {defaults, "defaults"};
  } catch (const std::exception& error) {
    const std::string prefix = file.empty() ? "" : file + " ignored: it ";
    return {defaults, "defaults (" + prefix + error.what() + ")"};
  }
}

const State& state() {
  const State* known = in_use.load(std::memory_order_acquire);
  if (known != nullptr) return *known;
  Found found = look_up();
  auto fresh = std::make_unique<State>(State{{caches(), found.constants}, std::move(found.origin)});
  // Whatever another thread has set meanwhile holds.
  if (!in_use.compare_exchange_strong(known, fresh.get(), std::memory_order_acq_rel)) return *known;
  return *fresh.release();
}

}  // namespace

void set_constants(const PlanConstants& constants, std::string origin) {
  auto* const fresh = new State{{caches(), constants}, std::move(origin)};
  fresh->older = in_use.load(std::memory_order_acquire);
  while (!in_use.compare_exchange_weak(fresh->older, fresh, std::memory_order_acq_rel)) {
  }
}

void forget_constants() noexcept { in_use.store(nullptr, std::memory_order_release); }

const Machine& machine() { return state().machine; }

Tuning tuning() {
  const State& now = state();
  std::string path;
  try {
    path = tuning_path(machine_key()).file.string();
  } catch (const UnsupportedIsa&) {  // no machine to keep a file for
  }
  return {now.machine.constants, now.origin, path};
}

void use_constants(const PlanConstants& constants) {
  check_constants(constants);
  set_constants(constants, "set by this program");
}

bool reset_tuning() {
  const TuningPath path = tuning_path(machine_key());
  bool removed = false;
  if (!path.file.empty()) {
    check_ownership(path);
    removed = std::filesystem::remove(path.file);
  }
  set_constants(default_constants(caches()), "defaults");
  return removed;
}

}  // namespace fastsoftmax
