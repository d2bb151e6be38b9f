// Compiles the kernels of output layers for the instruction set that FASTSOFTMAX_ISA names.
#include "kernels/log_normal_cdf.h"
#include "kernels/log_sigmoid.h"
#include "kernels/weighted_rows.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class A>
constexpr kernels::LayerKernels kLayers = {Products<A>::entry, WeightedRows<A>::entry,
                                           log_sigmoid<A>, descend<A>, log_normal_cdf<A>};
constexpr kernels::LayerTable kLayerTable = {kLayers<F32>, kLayers<F64>};

}  // namespace
}  // namespace FASTSOFTMAX_ISA

namespace kernels {

#define FASTSOFTMAX_GETTER_(isa) isa##_layers
#define FASTSOFTMAX_GETTER(isa) FASTSOFTMAX_GETTER_(isa)

const LayerTable& FASTSOFTMAX_GETTER(FASTSOFTMAX_ISA)() noexcept {
  return FASTSOFTMAX_ISA::kLayerTable;
}

}  // namespace kernels
}  // namespace fastsoftmax
