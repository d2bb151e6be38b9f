#include "call_threads.h"

#include <string>

#include "fastsoftmax/runtime.hpp"
#include "fastsoftmax/types.hpp"
#include "threads.h"

namespace fastsoftmax {

void check_max_threads(int max_threads) {
  if (max_threads < 0)
    throw InvalidArgument("max_threads must not be negative, got " + std::to_string(max_threads));
}

int call_threads(int max_threads) {
  check_max_threads(max_threads);
  return std::min(max_threads > 0 ? max_threads : num_threads(), kMaxThreads);
}

}  // namespace fastsoftmax
