// Options and results of losses whose gradients of weights are rows (SparseRows).
#pragma once

#include <cstdint>
#include <utility>

#include "loss_arguments.h"
#include "sparse_rows.h"

namespace fastsoftmax::python {

// `Arguments` are those of the layer: rows(), dtype(), new_array() and give(). `Options` have a
// reduction, an ignore_index and a grad_out; `Outputs` a loss, grad_x, grad_weights and grad_bias.
template <class Arguments, class Options, class Outputs>
class SparseLoss {
 public:
  Options options;
  Outputs out;

  // Sizes of a gradient: columns of x, and rows of the weights.
  SparseLoss(const Arguments& arguments, std::int64_t columns, std::int64_t num_rows,
             bool with_bias, const LossArguments& read, bool need_grad, bool need_loss = true)
      : arguments_(arguments),
        read_(read),
        num_rows_(num_rows),
        need_grad_(need_grad),
        with_bias_(with_bias) {
    if (!need_grad && !absent(read.grad_out))
      throw py::value_error("grad_out is of use with need_grad only");
    options.reduction = read_.options.reduction;
    options.ignore_index = read_.options.ignore_index;
    options.grad_out = read_.options.grad_out;
    const DType dtype = arguments.dtype();
    if (need_loss) {
      loss_ = is_scalar() ? arguments.new_array({}, dtype, loss_view_)
                          : arguments.new_array({arguments.rows()}, dtype, loss_view_);
      out.loss = loss_view_.as_output();
    }
    if (!need_grad) return;
    grad_x_ = arguments.new_array({arguments.rows(), columns}, dtype, grad_view_);
    out.grad_x = grad_view_.as_output();
    out.grad_weights = &weights_;
    if (with_bias) out.grad_bias = &bias_;
  }
  SparseLoss(const SparseLoss&) = delete;
  SparseLoss& operator=(const SparseLoss&) = delete;

  // (loss,) or (loss, grad_x, grad_weights, grad_bias or None), once they are computed; None for a
  // loss that is not needed.
  py::tuple give() {
    const DType dtype = arguments_.dtype();
    const py::object loss = loss_.is_none() ? loss_ : arguments_.give(loss_, dtype, is_scalar());
    if (!need_grad_) return py::make_tuple(loss);
    return py::make_tuple(
        loss, arguments_.give(grad_x_, dtype), give_sparse_rows(std::move(weights_), num_rows_),
        with_bias_ ? give_sparse_rows(std::move(bias_), num_rows_) : py::object(py::none()));
  }

 private:
  bool is_scalar() const { return options.reduction != Reduction::none; }

  const Arguments& arguments_;
  LossOptions read_;
  std::int64_t num_rows_;
  bool need_grad_;
  bool with_bias_;
  ArrayView loss_view_;
  ArrayView grad_view_;
  py::object loss_ = py::none();
  py::object grad_x_;
  SparseRows weights_;
  SparseRows bias_;
};

}  // namespace fastsoftmax::python
