// Log-probabilities of all leaves, from the root down.
#pragma once

#include "tree_layer.h"

namespace fastsoftmax {

// out: a number for each leaf, row after row.
template <class T>
void binary_log_probs(const TreeSources<T>& sources, T* out);
template <class T>
void tree_softmax_log_probs(const TreeSources<T>& sources, T* out);

extern template void binary_log_probs(const TreeSources<float>&, float*);
extern template void binary_log_probs(const TreeSources<double>&, double*);
extern template void tree_softmax_log_probs(const TreeSources<float>&, float*);
extern template void tree_softmax_log_probs(const TreeSources<double>&, double*);

}  // namespace fastsoftmax
