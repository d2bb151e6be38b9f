// What each bind_<capability>.cpp adds to the module.
#pragma once

#include <pybind11/pybind11.h>

namespace fastsoftmax::python {

void register_softmax(pybind11::module_& module);
void register_sparse_rows(pybind11::module_& module);
void register_stats(pybind11::module_& module);
void register_backward(pybind11::module_& module);
void register_cross_entropy(pybind11::module_& module);
void register_cuda(pybind11::module_& module);
void register_cuda_backward(pybind11::module_& module);
void register_cuda_loss(pybind11::module_& module);
void register_cuda_stats(pybind11::module_& module);
void register_cuda_topk(pybind11::module_& module);
void register_cuda_sample(pybind11::module_& module);
void register_gumbel_softmax(pybind11::module_& module);
void register_hierarchical_softmax(pybind11::module_& module);
void register_linear(pybind11::module_& module);
void register_linear_cross_entropy(pybind11::module_& module);
void register_adaptive_softmax(pybind11::module_& module);
void register_augment_reduce(pybind11::module_& module);
void register_partial_fc(pybind11::module_& module);
void register_topk(pybind11::module_& module);
void register_samplers(pybind11::module_& module);
void register_sampled_softmax(pybind11::module_& module);
void register_sampling(pybind11::module_& module);
void register_runtime(pybind11::module_& module);
void register_tree(pybind11::module_& module);
void register_tune(pybind11::module_& module);
void register_dlpack(pybind11::module_& module);

}  // namespace fastsoftmax::python
