#include <pybind11/pybind11.h>

#include <exception>

#include "bind.h"
#include "errors.h"

// The module keeps no mutable state of its own outside atomics, so that it needs no GIL.
PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used()) {
  namespace python = fastsoftmax::python;
  module.doc() = "The compiled part of fastsoftmax; import fastsoftmax instead.";
  pybind11::register_local_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (...) {
      python::set_python_error();
    }
  });
  python::register_softmax(module);
  python::register_backward(module);
  python::register_cross_entropy(module);
  python::register_linear(module);
  python::register_linear_cross_entropy(module);
  python::register_gumbel_softmax(module);
  python::register_hierarchical_softmax(module);
  python::register_adaptive_softmax(module);
  python::register_augment_reduce(module);
  python::register_partial_fc(module);
  python::register_topk(module);
  python::register_stats(module);
  python::register_sampled_softmax(module);
  python::register_sampling(module);
  python::register_samplers(module);
  python::register_sparse_rows(module);
  python::register_runtime(module);
  python::register_tree(module);
  python::register_tune(module);
  python::register_dlpack(module);
  python::register_cuda(module);
  python::register_cuda_backward(module);
  python::register_cuda_loss(module);
  python::register_cuda_stats(module);
  python::register_cuda_topk(module);
  python::register_cuda_sample(module);
}
