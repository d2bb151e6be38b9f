// The one place that decides which instruction set's kernels run.
#pragma once

#include "kernels/kernel_table.h"

namespace fastsoftmax {

// The kernels of isa_in_use(). The first call chooses; after that it costs one atomic load. Throws
// UnsupportedIsa where FASTSOFTMAX_ISA names an instruction set that cannot be used here, and does
// so again on every call until use_isa() has set one that can.
const kernels::KernelTable& kernels_in_use();

// Takes back use_isa(): the next call chooses as the first one does.
void reset_isa() noexcept;

}  // namespace fastsoftmax
