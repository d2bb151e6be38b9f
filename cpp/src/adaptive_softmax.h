// What the functions of an adaptive softmax have in common: which classes are where, and the inputs
// of clusters.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "fastsoftmax/adaptive_softmax.hpp"
#include "linear_tiles.h"

namespace fastsoftmax {

class AdaptiveClasses {
 public:
  // Throws where an array does not fit the others, and says which.
  explicit AdaptiveClasses(const AdaptiveLayer& layer);

  std::int64_t count() const { return first_.back(); }
  std::int64_t shortlist() const { return first_.front(); }
  std::int64_t clusters() const { return static_cast<std::int64_t>(first_.size()) - 1; }
  std::int64_t head_entries() const { return shortlist() + clusters(); }
  // The first class of a cluster, and how many it has.
  std::int64_t first(std::int64_t cluster) const { return first_[at(cluster)]; }
  std::int64_t size(std::int64_t cluster) const { return first(cluster + 1) - first(cluster); }
  // -1 for a class of the shortlist.
  std::int64_t cluster_of(std::int64_t c) const;
  // The entry of the head that stands for a class or its cluster.
  std::int64_t head_entry(std::int64_t c) const {
    const std::int64_t cluster = cluster_of(c);
    return cluster < 0 ? c : shortlist() + cluster;
  }

 private:
  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
  std::vector<std::int64_t> first_;  // of each cluster, and the number of all classes
};

LinearLayer head_of(const AdaptiveLayer& layer);

// Throws unless `out` is dense, of the given type and shape, and apart from the layer's arrays.
void check_adaptive_output(const View& out, const char* what, DType dtype,
                           std::span<const std::int64_t> shape, const AdaptiveLayer& layer);

// f<float>() or f<double>(), whichever the layer is computed in, in the default environment.
template <class F>
auto with_arithmetic(const AdaptiveLayer& layer, F f) {
  const baseline::DefaultFloatEnvironment environment;
  if (adaptive_dtype(layer) == DType::f64) return f.template operator()<double>();
  return f.template operator()<float>();
}

// Rows of a matrix in memory of its own.
template <class T>
class RowBuffer {
 public:
  T* reserve(std::int64_t rows, std::int64_t columns) {
    shape_ = {rows, columns};
    strides_ = {columns * static_cast<std::int64_t>(sizeof(T)), sizeof(T)};
    data_ = memory_.reserve(rows * columns);
    return data_;
  }
  T* row(std::int64_t r) const { return data_ + r * shape_[1]; }
  View out() const { return {data_, dtype_of_arithmetic<T>, shape_, strides_}; }
  ConstView view() const { return {data_, dtype_of_arithmetic<T>, shape_, strides_}; }
  Matrix rows(std::int64_t first, std::int64_t count) const {
    return matrix_of(row(first), count, shape_[1], shape_[1]);
  }

 private:
  Buffer<T> memory_;
  T* data_ = nullptr;
  std::array<std::int64_t, 2> shape_{};
  std::array<std::int64_t, 2> strides_{};
};

// A cluster as a linear layer over some of the rows of x, which must last.
template <class T>
class ClusterRows {
 public:
  ClusterRows(const AdaptiveLayer& layer, std::int64_t cluster, const RowSet& rows);
  ClusterRows(const ClusterRows&) = delete;
  ClusterRows& operator=(const ClusterRows&) = delete;

  // Its x are the projected rows, in the order of the RowSet.
  const LinearLayer& layer() const { return layer_; }
  // From the gradient with respect to those to that with respect to x, which is added to, and of
  // the projection, which is set. Views of null data are not wanted.
  void add_gradients(const RowBuffer<T>& grad, const View& grad_x, const View& grad_projection);

 private:
  template <class Body>
  void for_each_chunk(Body body);
  void multiply(const Matrix& a, const Matrix& b, const Matrix& out) const {
    fastsoftmax::multiply<T>(layer_.matmul, a, b, out);
  }

  const RowSet& rows_;
  MatrixRows<T> x_;
  MatrixRows<T> projection_;
  RowBuffer<T> projected_;
  RowBuffer<T> product_;
  LinearLayer layer_;
};

extern template class ClusterRows<float>;
extern template class ClusterRows<double>;

}  // namespace fastsoftmax
