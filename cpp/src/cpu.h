// What the CPU offers: instruction sets and cache sizes.
#pragma once

#include <optional>
#include <string>

#include "fastsoftmax/runtime.hpp"
#include "fastsoftmax/types.hpp"

namespace fastsoftmax {

// Whether this CPU and its operating system run code compiled for `isa`: the instructions exist and
// the system saves the registers they use. Says nothing about what the library was built with.
bool cpu_supports(Isa isa) noexcept;

// Name of the CPU, with what tells its models apart, in one line of printable characters.
std::string cpu_model();

// The data and unified caches that Linux lists in a directory such as
// /sys/devices/system/cpu/cpu0/cache; levels that are missing there take the size of the level
// below, except L1, without which there is no answer.
std::optional<Caches> caches_from_sysfs(const std::string& directory);

}  // namespace fastsoftmax
