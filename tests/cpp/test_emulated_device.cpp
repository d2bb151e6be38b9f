// The device that runs the CUDA kernels on this CPU: what a kernel does wrong does not pass.
#include <doctest/doctest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "emulated_device.h"

namespace tests {
namespace {

using Body = void (*)(const EmulatedTeam&, std::vector<int>&);

struct Kernel {
  static constexpr int max_threads = 64;
  struct Call {
    Body body;
    std::vector<int>* seen;
  };
  static void run(const EmulatedTeam& team, const Call& call) { call.body(team, *call.seen); }
};

// What the threads of two thread blocks have seen.
std::vector<int> run(Body body, Random* order = nullptr, int cluster = 1) {
  std::vector<int> seen;
  EmulatedLauncher{order}.launch<Kernel>(2, 64, 256, Kernel::Call{body, &seen}, cluster);
  return seen;
}

TEST_CASE("threads exchange, meet and go on") {
  Random random(1);
  const auto body = [](const EmulatedTeam& team, std::vector<int>& seen) {
    int* const shared = reinterpret_cast<int*>(team.shared);
    shared[team.thread()] = team.thread();
    team.sync();
    int sum = shared[63 - team.thread()];
    for (int mask = 1; mask < fs::cuda::kGroup; mask *= 2) sum += team.exchange(sum, mask);
    if (team.any_thread(team.thread() == 5)) seen.push_back(sum);
  };
  for (Random* const order : {static_cast<Random*>(nullptr), &random}) {
    std::vector<int> seen = run(body, order);
    std::sort(seen.begin(), seen.end());
    REQUIRE(seen.size() == 128);
    for (std::size_t i = 0; i < seen.size(); ++i)
      CHECK(seen[i] == 120 + 256 * static_cast<int>(i / 32));
  }
}

TEST_CASE("the order of threads is any") {
  Random random(2);
  const auto body = [](const EmulatedTeam& team, std::vector<int>& seen) {
    seen.push_back(team.thread());
  };
  const std::vector<int> in_order = run(body);
  CHECK(std::is_sorted(in_order.begin(), in_order.begin() + 64));
  CHECK(run(body, &random) != run(body, &random));
}

TEST_CASE("what cannot be is found, and the next launch runs") {
  const auto throws = [](Body body, const std::string& what) {
    CHECK_THROWS_WITH_AS(run(body, nullptr, 2), what.c_str(), std::logic_error);
    CHECK(run([](const EmulatedTeam&, std::vector<int>& seen) { seen.push_back(1); }).size() ==
          128);
  };
  throws(
      [](const EmulatedTeam& team, std::vector<int>&) {
        if (team.thread() != 7) team.sync();
      },
      "threads wait for each other at different places");
  throws(
      [](const EmulatedTeam& team, std::vector<int>&) {
        if (team.rank() == 0) team.sync_cluster();
      },
      "threads wait for each other at different places");
  throws([](const EmulatedTeam& team,
            std::vector<int>&) { *team.peer(team.shared, 1 - team.rank()) = 1; },
         "a thread block is written to that may not be there");
  throws(
      [](const EmulatedTeam& team, std::vector<int>&) {
        team.sync_cluster();
        if (team.rank() == 1) *team.peer(team.shared, 0) = 1;
      },
      "a thread block is written to that may not be there");
  throws([](const EmulatedTeam& team, std::vector<int>&) { team.shared[256] = 1; },
         "a thread block wrote behind its shared memory");
  throws(
      [](const EmulatedTeam& team, std::vector<int>&) {
        team.sync();
        if (team.thread() == 9) throw std::logic_error("of the kernel");
        team.sync();
      },
      "of the kernel");
}

TEST_CASE("copies arrive when they are waited for") {
  alignas(16) static const char source[32] = "sixteen bytes and sixteen more.";
  const auto body = [](const EmulatedTeam& team, std::vector<int>& seen) {
    auto* const barrier = reinterpret_cast<fs::cuda::CopyBarrier*>(team.shared + 64);
    if (team.thread() == 0) {
      team.begin_copies(barrier);
      team.start_copy(barrier, team.shared, source, 32);
      seen.push_back(std::memcmp(team.shared, source, 32) == 0);
    }
    team.sync();
    team.await_copy(barrier, 0);
    if (std::memcmp(team.shared, source, 32) != 0) seen.push_back(2);
  };
  CHECK(run(body) == std::vector<int>{0, 0});
  const auto forgotten = [](const EmulatedTeam& team, std::vector<int>&) {
    auto* const barrier = reinterpret_cast<fs::cuda::CopyBarrier*>(team.shared + 64);
    if (team.thread() != 0) return;
    team.begin_copies(barrier);
    team.start_copy(barrier, team.shared, source, 16);
  };
  CHECK_THROWS_WITH_AS(run(forgotten), "a copy that nobody waits for", std::logic_error);
  const auto misaligned = [](const EmulatedTeam& team, std::vector<int>&) {
    auto* const barrier = reinterpret_cast<fs::cuda::CopyBarrier*>(team.shared + 64);
    if (team.thread() != 0) return;
    team.begin_copies(barrier);
    team.start_copy(barrier, team.shared + 8, source, 16);
  };
  CHECK_THROWS_WITH_AS(run(misaligned), "a copy that cannot be made", std::logic_error);
}

// A second copy to the same place; Fenced: once no thread reads the first any more.
template <bool Fenced>
void copy_twice(const EmulatedTeam& team, std::vector<int>&) {
  alignas(16) static const char source[16] = "fifteen letters";
  auto* const barrier = reinterpret_cast<fs::cuda::CopyBarrier*>(team.shared + 64);
  if (team.thread() == 0) {
    team.begin_copies(barrier);
    team.start_copy(barrier, team.shared, source, 16);
  }
  team.sync();
  team.await_copy(barrier, 0);
  if (Fenced || team.thread() != 5) team.end_reads();
  team.sync();
  if (team.thread() == 0) team.start_copy(barrier, team.shared, source, 16);
  team.await_copy(barrier, 1);
}

TEST_CASE("copies do not overtake reads") {
  run(copy_twice<true>);
  CHECK_THROWS_WITH_AS(run(copy_twice<false>), "a copy to where reads have not been fenced off",
                       std::logic_error);
}

}  // namespace
}  // namespace tests
