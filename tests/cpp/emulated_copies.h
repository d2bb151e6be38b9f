// Bulk copies (cuda/bulk_copy.h) on a CPU. A copy happens when it is first waited for; until then
// its destination holds something else, so that a kernel that reads too early does not pass.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <stdexcept>

#include "cuda/bulk_copy.h"

namespace tests {

class EmulatedCopies {
 public:
  void begin(void* barrier) {
    if (!copies_.emplace(barrier, EmulatedCopy{nullptr, nullptr, 0, 0, {}}).second)
      throw std::logic_error("a barrier begins twice");
  }
  void start(void* barrier, char* to, const char* from, int bytes) {
    const auto misaligned = reinterpret_cast<std::uintptr_t>(to) % 16 +
                            reinterpret_cast<std::uintptr_t>(from) % 16 +
                            static_cast<std::uintptr_t>(bytes % 16);
    EmulatedCopy& copy = copies_.at(barrier);
    if (misaligned != 0 || bytes <= 0 || copy.from != nullptr)
      throw std::logic_error("a copy that cannot be made");
    if (!copy.readers.empty())
      throw std::logic_error("a copy to where reads have not been fenced off");
    std::memset(to, 0x5a, static_cast<std::size_t>(bytes));
    copy = {from, to, bytes, copy.phase, {}};
  }
  bool there(void* barrier, int phase, int thread) {
    EmulatedCopy& copy = copies_.at(barrier);
    if ((copy.phase & 1) == phase && copy.from != nullptr) {
      std::memcpy(copy.to, copy.from, static_cast<std::size_t>(copy.bytes));
      copy = {nullptr, nullptr, 0, copy.phase + 1, {}};
    }
    if ((copy.phase & 1) == phase) return false;
    copy.readers.insert(thread);
    return true;
  }
  // The proxy's fence, of a thread.
  void end_reads(int thread) {
    for (auto& [barrier, copy] : copies_) copy.readers.erase(thread);
  }
  // Nothing may be on its way when a thread block leaves.
  void end() {
    for (const auto& [barrier, copy] : copies_)
      if (copy.from != nullptr) throw std::logic_error("a copy that nobody waits for");
    copies_.clear();
  }

 private:
  // Of a barrier; `from` is null where none is on its way.
  struct EmulatedCopy {
    const char* from;
    char* to;
    int bytes;
    int phase;
    std::set<int> readers;  // threads that may be reading what has come
  };
  std::map<void*, EmulatedCopy> copies_;
};

}  // namespace tests
