// How many CPUs the affinity mask and the control groups grant.
#include "affinity.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "child_process.h"
#include "fastsoftmax/runtime.hpp"
#include "temporary_tree.h"

#ifdef __linux__
#include <sched.h>
#endif

namespace fs = fastsoftmax;

namespace {

constexpr const char* kMountV2 = "31 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
constexpr const char* kMountV1 =
    "31 23 0:26 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "32 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n";

}  // namespace

#ifdef __linux__
TEST_CASE("affinity: threads from the affinity mask") {
  CHECK(in_child([] {
          cpu_set_t mask;
          if (sched_getaffinity(0, sizeof(mask), &mask) != 0) return 1;
          if (fs::affinity_cpus() != CPU_COUNT(&mask)) return 2;
          const fs::CpuRange range = fs::affinity_range();
          if (!CPU_ISSET(static_cast<std::size_t>(range.last), &mask)) return 3;
          CPU_ZERO(&mask);
          CPU_SET(static_cast<std::size_t>(range.last), &mask);
          if (sched_setaffinity(0, sizeof(mask), &mask) != 0) return 4;
          if (fs::affinity_cpus() != 1 || fs::affinity_range().first != range.last) return 5;
          unsetenv("FASTSOFTMAX_NUM_THREADS");
          unsetenv("OMP_NUM_THREADS");
          fs::set_num_threads(0);
          return fs::num_threads() == 1 ? 0 : 6;
        }) == 0);
}
#endif

TEST_CASE("affinity: cgroup quota, version 2") {
  TemporaryTree tree;
  tree.file("/proc/self/mountinfo", kMountV2).file("/proc/self/cgroup", "0::/a.slice/b/c\n");
  CHECK(!fs::cgroup_cpus(tree.root()));
  tree.file("/sys/fs/cgroup/a.slice/b/c/cpu.max", "max 100000\n");
  CHECK(!fs::cgroup_cpus(tree.root()));
  tree.file("/sys/fs/cgroup/a.slice/cpu.max", "600000 100000\n");
  CHECK(fs::cgroup_cpus(tree.root()) == 6);
  tree.file("/sys/fs/cgroup/a.slice/b/cpu.max", "250000 100000\n");  // 2.5, rounded up
  CHECK(fs::cgroup_cpus(tree.root()) == 3);
  tree.file("/sys/fs/cgroup/a.slice/b/c/cpu.max", "1000 50000\n");
  CHECK(fs::cgroup_cpus(tree.root()) == 1);
  for (const char* invalid : {"", "max", "0 100000", "-5 100000", "x y", "100000 0", "100000"}) {
    tree.file("/sys/fs/cgroup/a.slice/b/c/cpu.max", invalid);
    CAPTURE(invalid);
    CHECK(fs::cgroup_cpus(tree.root()) == 3);
  }
}

TEST_CASE("affinity: cgroup quota in a container") {
  TemporaryTree own_namespace;
  own_namespace.file("/proc/self/mountinfo", kMountV2)
      .file("/proc/self/cgroup", "0::/\n")
      .file("/sys/fs/cgroup/cpu.max", "200000 100000\n");
  CHECK(fs::cgroup_cpus(own_namespace.root()) == 2);

  // The host's path, of which only the container's own part is mounted.
  TemporaryTree bind_mount;
  bind_mount
      .file("/proc/self/mountinfo", "9 8 0:26 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup ro\n")
      .file("/proc/self/cgroup", "0::/docker/ab/job\n")
      .file("/sys/fs/cgroup/cpu.max", "400000 100000\n")
      .file("/sys/fs/cgroup/job/cpu.max", "300000 100000\n");
  CHECK(fs::cgroup_cpus(bind_mount.root()) == 3);

  // A group outside what is mounted, or outside the namespace: what is mounted decides.
  for (const char* outside : {"0::/docker/abc\n", "0::/../other\n", "0::/gone/away\n"}) {
    TemporaryTree tree;
    tree.file("/proc/self/mountinfo", kMountV2)
        .file("/proc/self/cgroup", outside)
        .file("/sys/fs/cgroup/cpu.max", "500000 100000\n");
    CHECK(fs::cgroup_cpus(tree.root()) == 5);
  }
}

TEST_CASE("affinity: cgroup quota, version 1 and both at once") {
  TemporaryTree tree;
  const std::string group = "/sys/fs/cgroup/cpu,cpuacct/jobs";
  tree.file("/proc/self/mountinfo", kMountV1)
      .file("/proc/self/cgroup", "5:cpuset:/elsewhere\n4:cpu,cpuacct:/jobs/one\n0::/unified\n")
      .file(group + "/one/cpu.cfs_quota_us", "-1\n")
      .file(group + "/one/cpu.cfs_period_us", "100000\n");
  CHECK(!fs::cgroup_cpus(tree.root()));
  tree.file(group + "/cpu.cfs_quota_us", "350000\n").file(group + "/cpu.cfs_period_us", "100000\n");
  CHECK(fs::cgroup_cpus(tree.root()) == 4);

  tree.file("/proc/self/mountinfo",
            std::string(kMountV1) + "40 23 0:30 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n")
      .file("/sys/fs/cgroup/unified/unified/cpu.max", "100000 100000\n");
  CHECK(fs::cgroup_cpus(tree.root()) == 1);
}

TEST_CASE("affinity: without control groups, or with nonsense in their place") {
  TemporaryTree tree;
  CHECK(!fs::cgroup_cpus(tree.root()));
  tree.file("/proc/self/cgroup", "\n::\nabc\n0:\n0::\n0::relative/path\n4:cpu:\n");
  CHECK(!fs::cgroup_cpus(tree.root()));
  tree.file("/proc/self/mountinfo", "\n - \na b - c\n1 2 3 4 5 - cgroup2\n");
  CHECK(!fs::cgroup_cpus(tree.root()));
  tree.file("/sys/fs/cgroup/cpu.max", "100000 100000\n");
  CHECK(fs::cgroup_cpus(tree.root()) == 1);
  CHECK(fs::available_cpus() >= 1);
  CHECK(fs::available_cpus() <= fs::affinity_cpus());
}
