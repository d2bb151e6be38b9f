// Targets of partial FC as places in ids.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "fastsoftmax/view.hpp"

namespace fastsoftmax {

// For each row its target less vocab_start; kIgnored where it is ignored, kNoTarget where it is
// another process's. Throws where classes do not fit in the vocabulary, and for a target that is
// none.
std::vector<std::int64_t> targets_here(const ConstView& targets, std::int64_t classes,
                                       std::int64_t vocab_start,
                                       std::optional<std::int64_t> vocab_size,
                                       std::int64_t ignore_index);

// Where `id` is in ids, which ascend; -1 where it is not.
std::int64_t place_of(std::int64_t id, const std::vector<std::int64_t>& ids);

// Of targets as above; -1 for a row that is ignored, the number of ids for another process's.
// Throws for a target that is not among ids.
std::vector<std::int64_t> remapped(std::vector<std::int64_t> targets,
                                   const std::vector<std::int64_t>& ids);

}  // namespace fastsoftmax
