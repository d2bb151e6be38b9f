#include "affinity.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <string_view>
#include <thread>
#include <vector>

#include "text_file.h"

#ifdef __linux__
#include <sched.h>

#include <cerrno>
#endif

namespace fastsoftmax {
namespace {

#ifdef __linux__

struct Mask {
  CpuRange range;
  int count = 0;  // 0: not known
};

Mask affinity_mask() noexcept {
  Mask mask;
  // The kernel refuses a mask shorter than its own, whose length it does not tell.
  for (int capacity = 1024; capacity <= (1 << 20); capacity *= 2) {
    cpu_set_t* const set = CPU_ALLOC(static_cast<std::size_t>(capacity));
    if (set == nullptr) return mask;
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(capacity));
    CPU_ZERO_S(bytes, set);
    const bool read = sched_getaffinity(0, bytes, set) == 0;
    const bool too_short = !read && errno == EINVAL;
    for (int cpu = 0; read && cpu < capacity; ++cpu) {
      if (!CPU_ISSET_S(static_cast<std::size_t>(cpu), bytes, set)) continue;
      if (mask.count == 0) mask.range.first = cpu;
      mask.range.last = cpu;
      ++mask.count;
    }
    CPU_FREE(set);
    if (!too_short) break;
  }
  return mask;
}

#endif

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool contains(std::string_view list, std::string_view item) {
  const auto parts = split(list, ',');
  return std::find(parts.begin(), parts.end(), item) != parts.end();
}

enum class Version { v1, v2 };

// A hierarchy of control groups: which group is mounted where.
struct Mount {
  std::string group = "/";
  std::string directory;
};

// From lines such as "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu".
Mount find_mount(const std::string& root, Version version) {
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const auto mount = split(std::string_view(line).substr(0, dash), ' ');
    const auto filesystem = split(std::string_view(line).substr(dash + 3), ' ');
    if (mount.size() < 5 || filesystem.size() < 3) continue;
    const bool found = version == Version::v2
                           ? filesystem[0] == "cgroup2"
                           : filesystem[0] == "cgroup" && contains(filesystem[2], "cpu");
    if (found) return {std::string(mount[3]), std::string(mount[4])};
  }
  return {"/", version == Version::v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu"};
}

// The process's group, from lines such as "0::/user.slice" (v2) and "4:cpu,cpuacct:/jobs" (v1).
std::optional<std::string> find_group(const std::string& root, Version version) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string_view controllers =
        std::string_view(line).substr(first + 1, second - first - 1);
    const bool found =
        version == Version::v2 ? line.starts_with("0::") : contains(controllers, "cpu");
    if (found) return line.substr(second + 1);
  }
  return std::nullopt;
}

// `group` as a path below the mount; empty where the mount does not reach it, as in a container
// that sees only its own part of the hierarchy under the path of the host.
std::string below_mount(std::string group, const Mount& mount) {
  if (mount.group != "/") {
    if (!group.starts_with(mount.group)) return "";
    group.erase(0, mount.group.size());
  }
  if (!group.starts_with('/')) return "";
  if (group.find("/..") != std::string::npos) return "";
  while (!group.empty() && group.back() == '/') group.pop_back();
  return group;
}

// The quota set on one group, in CPUs.
std::optional<int> group_cpus(const std::string& directory, Version version) {
  std::string quota_text;
  std::string period_text;
  if (version == Version::v2) {
    std::ifstream(directory + "/cpu.max") >> quota_text >> period_text;
  } else {
    quota_text = first_word(directory + "/cpu.cfs_quota_us");
    period_text = first_word(directory + "/cpu.cfs_period_us");
  }
  const auto quota = parse_number(quota_text);  // "max" and -1: none
  const auto period = parse_number(period_text);
  if (!quota || *quota <= 0 || !period || *period <= 0) return std::nullopt;
  const std::int64_t cpus = *quota / *period + (*quota % *period != 0 ? 1 : 0);
  return static_cast<int>(std::min<std::int64_t>(cpus, std::numeric_limits<int>::max()));
}

}  // namespace

CpuRange affinity_range() noexcept {
#ifdef __linux__
  return affinity_mask().range;
#else
  return {};
#endif
}

int affinity_cpus() noexcept {
#ifdef __linux__
  const int count = affinity_mask().count;
  if (count > 0) return count;
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::optional<int> cgroup_cpus(const std::string& root) {
  std::optional<int> smallest;
  for (const Version version : {Version::v2, Version::v1}) {
    const auto group = find_group(root, version);
    if (!group) continue;
    const Mount mount = find_mount(root, version);
    std::string path = below_mount(*group, mount);
    while (true) {
      const auto cpus = group_cpus(root + mount.directory + path, version);
      if (cpus) smallest = std::min(smallest.value_or(*cpus), *cpus);
      if (path.empty()) break;
      path.erase(path.rfind('/'));
    }
  }
  return smallest;
}

int available_cpus() noexcept {
  int cpus = affinity_cpus();
#ifdef __linux__
  try {
    if (const auto granted = cgroup_cpus("")) cpus = std::min(cpus, *granted);
  } catch (...) {  // out of memory: the affinity mask alone decides
  }
#endif
  return cpus;
}

}  // namespace fastsoftmax
