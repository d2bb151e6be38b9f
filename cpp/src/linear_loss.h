// linear_cross_entropy and its backward in an arithmetic that is given, whatever the types of the
// inputs, and with scores of targets that may be given as well.
#pragma once

#include "fastsoftmax/linear_cross_entropy.hpp"
#include "linear_rows.h"

namespace fastsoftmax {

template <class T>
void linear_loss(const LinearLayer& layer, const ConstView& targets,
                 const LinearCrossEntropyOutputs& out, const LinearCrossEntropyOptions& options,
                 const TargetScores<T>& given = {});
template <class T>
void linear_loss_backward(const LinearLayer& layer, const ConstView& targets, const ConstView& max,
                          const ConstView& logsum, const LinearCrossEntropyOutputs& out,
                          const LinearCrossEntropyOptions& options,
                          const TargetScores<T>& given = {});

extern template void linear_loss(const LinearLayer&, const ConstView&,
                                 const LinearCrossEntropyOutputs&, const LinearCrossEntropyOptions&,
                                 const TargetScores<float>&);
extern template void linear_loss(const LinearLayer&, const ConstView&,
                                 const LinearCrossEntropyOutputs&, const LinearCrossEntropyOptions&,
                                 const TargetScores<double>&);
extern template void linear_loss_backward(const LinearLayer&, const ConstView&, const ConstView&,
                                          const ConstView&, const LinearCrossEntropyOutputs&,
                                          const LinearCrossEntropyOptions&,
                                          const TargetScores<float>&);
extern template void linear_loss_backward(const LinearLayer&, const ConstView&, const ConstView&,
                                          const ConstView&, const LinearCrossEntropyOutputs&,
                                          const LinearCrossEntropyOptions&,
                                          const TargetScores<double>&);

}  // namespace fastsoftmax
