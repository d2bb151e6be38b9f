// CPU features and cache sizes.
#include "cpu.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <string>

#include "fastsoftmax/runtime.hpp"
#include "temporary_tree.h"

namespace fs = fastsoftmax;

TEST_CASE("cpu: instruction sets built and supported") {
  const auto built = fs::isas_built();
  const auto supported = fs::isas_supported();
  REQUIRE(!built.empty());
  CHECK(built.back() == fs::Isa::scalar);
  REQUIRE(!supported.empty());
  CHECK(supported.back() == fs::Isa::scalar);
  CHECK(std::is_sorted(built.begin(), built.end(), std::greater<>{}));  // best first
  for (const fs::Isa isa : built) {
    const bool listed = std::count(supported.begin(), supported.end(), isa) == 1;
    CHECK(listed == fs::cpu_supports(isa));
  }
  CHECK((!fs::cpu_supports(fs::Isa::avx512) || fs::cpu_supports(fs::Isa::avx2)));
#ifdef __x86_64__
  CHECK(!fs::cpu_supports(fs::Isa::neon));
#ifndef __clang__  // of old versions, whose test does not look at the operating system's part
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  CHECK(fs::cpu_supports(fs::Isa::avx2) == avx2);
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  CHECK(fs::cpu_supports(fs::Isa::avx512) == avx512);
#endif
#endif
}

TEST_CASE("cpu: caches are never zero, and are read once") {
  const fs::Caches& caches = fs::caches();
  CHECK(caches.l1 >= 4096);
  CHECK(caches.l2 >= caches.l1);
  CHECK(caches.last_level >= caches.l2);
  CHECK(&fs::caches() == &caches);
}

TEST_CASE("cpu: caches as Linux lists them") {
  const auto add = [](TemporaryTree& tree, int index, const char* type, const char* level,
                      const char* size) {
    const std::string cache = "/index" + std::to_string(index);
    tree.file(cache + "/type", std::string(type) + "\n")
        .file(cache + "/level", std::string(level) + "\n")
        .file(cache + "/size", std::string(size) + "\n");
  };
  TemporaryTree server;
  add(server, 0, "Data", "1", "48K");
  add(server, 1, "Instruction", "1", "64K");
  add(server, 2, "Unified", "2", "2048K");
  add(server, 3, "Unified", "3", "107520K");
  const fs::Caches found = fs::caches_from_sysfs(server.root()).value_or(fs::Caches{0, 0, 0});
  CHECK(found.l1 == 48 << 10);
  CHECK(found.l2 == 2 << 20);
  CHECK(found.last_level == 105 << 20);

  TemporaryTree phone;  // no third level, megabytes
  add(phone, 0, "Instruction", "1", "128K");
  add(phone, 1, "Data", "1", "64K");
  add(phone, 2, "Unified", "2", "4M");
  const fs::Caches small = fs::caches_from_sysfs(phone.root()).value_or(fs::Caches{0, 0, 0});
  CHECK(small.l1 == 64 << 10);
  CHECK(small.last_level == 4 << 20);

  CHECK(!fs::caches_from_sysfs(TemporaryTree().root()));
  TemporaryTree broken;
  add(broken, 0, "Data", "1", "unknown");
  CHECK(!fs::caches_from_sysfs(broken.root()));
}
