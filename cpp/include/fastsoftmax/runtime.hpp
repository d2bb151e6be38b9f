// The machine as the library sees it, and the settings that hold for the whole process.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fastsoftmax/types.hpp"

namespace fastsoftmax {

// The version that the linked library was built as, such as "0.1.0".
const char* version() noexcept;
// Compiler name and version the library was built with.
const char* compiler() noexcept;

// Instruction sets compiled into this library / those of them that this CPU can run, best first.
std::vector<Isa> isas_built();
std::vector<Isa> isas_supported();
// The one in use: FASTSOFTMAX_ISA where set, else the best supported. Throws UnsupportedIsa where
// FASTSOFTMAX_ISA names one that is unknown, not built or not supported here.
Isa isa_in_use();
// Changes it for the whole process. Throws UnsupportedIsa.
void use_isa(Isa isa);

// Data caches in bytes; L1 and L2 of one core, the last level as a whole. Never zero: where the
// machine does not tell, 32 KiB, 512 KiB and 8 MiB.
struct Caches {
  std::int64_t l1 = 32 << 10;
  std::int64_t l2 = 512 << 10;
  std::int64_t last_level = 8 << 20;
};
const Caches& caches() noexcept;  // read once

// Threads a call may use, the calling one included: set_num_threads, else
// FASTSOFTMAX_NUM_THREADS, else OMP_NUM_THREADS (its first number), else the CPUs in the affinity
// mask limited by the cgroup quota (rounded up). The default is found out once; at most 1024.
int num_threads() noexcept;
// 1 to 1024, or 0 to find out the default anew. Throws InvalidArgument.
void set_num_threads(int n);

}  // namespace fastsoftmax
