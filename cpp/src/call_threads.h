// How many threads a call may use, and how many its work pays for.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fastsoftmax {

// Throws unless 0 <= max_threads.
void check_max_threads(int max_threads);
// That many, or num_threads() for 0, but no more than kMaxThreads. Throws likewise.
int call_threads(int max_threads);

// Of at most `most`, those that so many elements pay for.
inline int threads_for(std::int64_t elements, int most) {
  constexpr std::int64_t elements_each = 1 << 16;
  return static_cast<int>(std::clamp<std::int64_t>(elements / elements_each, 1, most));
}

}  // namespace fastsoftmax
