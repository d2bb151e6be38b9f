// Rows along a strided axis, copied side by side so that kernels can read them as they lie.
#pragma once

#include <cstdint>

#include "call.h"
#include "kernels/kernel_table.h"

namespace fastsoftmax {

// How many neighbouring rows are copied at a time: as many as share cache lines, if the copy stays
// small enough; 0 where rows lie as they are wanted or are not next to each other.
std::int64_t tile_rows(const Call& call);

// Copies the rows of a job to `tile`, which has room for them, and points the job there.
void copy_tile(const Call& call, kernels::RowsJob& rows, char* tile);

}  // namespace fastsoftmax
