// Gradients of a linear layer, tile by tile: from scores to their gradients and on to the sums that
// are those of x, w and bias.
#pragma once

#include <cstdint>
#include <vector>

#include "fastsoftmax/linear_cross_entropy.hpp"
#include "linear_rows.h"

namespace fastsoftmax {

template <class T>
class LinearGradients {
 public:
  // `gradients`: for each row of `rows`, to be there when its tiles are added.
  LinearGradients(LinearScores<T>& scores, const RowSet& rows, LinearRows<T>& of_rows,
                  const std::vector<kernels::LossGradient>& gradients,
                  const LinearCrossEntropyOutputs& out, double mass_tol);

  // A tile of scores, which is overwritten; `x` are its rows. The tiles of a row are added in the
  // order of classes.
  void add(const Tile<T>& tile, const Matrix& x);
  // What was never added is 0.
  void finish();

 private:
  bool skips(const Tile<T>& block);
  void add_block(const Tile<T>& block, const Matrix& x);
  void add_to_w(const Tile<T>& block, const Matrix& x);
  void add_to_bias(const Tile<T>& block);
  void add_to_x(const Tile<T>& tile);

  LinearScores<T>& scores_;
  const RowSet& rows_;
  LinearRows<T>& of_rows_;
  const std::vector<kernels::LossGradient>& gradients_;
  T* grad_x_;
  T* grad_w_;
  T* grad_bias_;
  double mass_tol_;
  std::vector<bool> x_begun_;  // for each row of x
  std::int64_t w_begun_ = 0;   // classes
  std::vector<double> bias_;
  std::vector<double> left_out_;  // mass, for each row
  std::vector<double> masses_;
};

extern template class LinearGradients<float>;
extern template class LinearGradients<double>;

}  // namespace fastsoftmax
