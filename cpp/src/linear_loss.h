// linear_cross_entropy in an arithmetic that is given, whatever the types of its inputs.
#pragma once

#include "fastsoftmax/linear_cross_entropy.hpp"

namespace fastsoftmax {

template <class T>
void linear_loss(const LinearLayer& layer, const ConstView& targets,
                 const LinearCrossEntropyOutputs& out, const LinearCrossEntropyOptions& options);

extern template void linear_loss<float>(const LinearLayer&, const ConstView&,
                                        const LinearCrossEntropyOutputs&,
                                        const LinearCrossEntropyOptions&);
extern template void linear_loss<double>(const LinearLayer&, const ConstView&,
                                         const LinearCrossEntropyOutputs&,
                                         const LinearCrossEntropyOptions&);

}  // namespace fastsoftmax
