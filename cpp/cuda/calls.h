// All that functions of the table take.
#pragma once

#include "cuda/backward_call.h"
#include "cuda/interface.h"
#include "cuda/loss_call.h"
#include "cuda/sample_call.h"
#include "cuda/selection.h"
#include "cuda/stats_call.h"

namespace fastsoftmax::cuda {

// Tells libraries apart that were built from other sources.
constexpr std::int64_t call_sizes() {
  std::int64_t sizes = 0;
  for (const std::size_t size : {sizeof(RowsCall), sizeof(BackwardCall), sizeof(LossCall),
                                 sizeof(StatsCall), sizeof(TopkRowsCall), sizeof(SampleCall)})
    sizes = sizes * 4099 + static_cast<std::int64_t>(size);
  return sizes;
}

}  // namespace fastsoftmax::cuda
