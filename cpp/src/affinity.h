// How many CPUs this process may keep busy.
#pragma once

#include <optional>
#include <string>

namespace fastsoftmax {

// Smallest and largest number of a CPU in the affinity mask; {0, 0} where the system has none.
struct CpuRange {
  int first = 0;
  int last = 0;
};
CpuRange affinity_range() noexcept;

// CPUs in the affinity mask of the calling thread, else CPUs online; at least 1.
int affinity_cpus() noexcept;

// CPUs that the process's control groups grant, rounded up and at least 1: the smallest quota from
// its own group up to the root, of version 2 (cpu.max) and version 1 (cpu.cfs_quota_us). Nothing
// where no quota is set. `root` is put before every path read ("" for the machine itself).
std::optional<int> cgroup_cpus(const std::string& root);

// affinity_cpus() limited by cgroup_cpus(""). Reads files: keep the answer.
int available_cpus() noexcept;

}  // namespace fastsoftmax
