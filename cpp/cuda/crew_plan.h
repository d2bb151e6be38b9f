// How losses and statistics of rows are come by on a device: a pure function of the work and of the
// device. It cannot change a result.
#pragma once

#include "cuda/plan.h"

namespace fastsoftmax::cuda {

// Without y, the gradient, rows are read once. Of paths all but `parts`; cluster_rows: in
// registers, in shared memory, or read twice; not direct: also any rows.
Plan make_crew_plan(const RowsCall& call, const Device& device);

}  // namespace fastsoftmax::cuda
