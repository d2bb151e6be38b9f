#include "adaptive_softmax.h"

#include <algorithm>
#include <span>
#include <string>

#include "axis_call.h"
#include "linear_checks.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

std::string numbered(const char* what, std::size_t i) {
  return std::string(what) + "[" + std::to_string(i) + "]";
}

void check_matrix(const ConstView& view, const std::string& what, std::int64_t columns,
                  const std::string& as) {
  check_view(view, what.c_str());
  check_data(view, what.c_str());
  if (view.shape.size() != 2)
    throw InvalidArgument(what + " must have 2 dimensions, not shape " + shape_text(view.shape));
  if (view.shape[1] != columns)
    throw InvalidArgument(what + " has shape " + shape_text(view.shape) + ", expected " +
                          std::to_string(columns) + " columns as " + as);
}

}  // namespace

DType adaptive_dtype(const AdaptiveLayer& layer) noexcept {
  DType dtype = linear_dtype(layer.x.dtype, layer.head.dtype);
  if (layer.head_bias) dtype = linear_dtype(dtype, layer.head_bias->dtype);
  for (const auto& of_clusters : {layer.projections, layer.tails}) {
    for (const ConstView& view : of_clusters) dtype = linear_dtype(dtype, view.dtype);
  }
  return dtype;
}

std::int64_t adaptive_classes(const AdaptiveLayer& layer) { return AdaptiveClasses(layer).count(); }

AdaptiveClasses::AdaptiveClasses(const AdaptiveLayer& layer) {
  check_view(layer.x, "x");
  check_data(layer.x, "x");
  if (layer.x.shape.size() != 2)
    throw InvalidArgument("x must have 2 dimensions, not shape " + shape_text(layer.x.shape));
  const std::size_t clusters = layer.tails.size();
  if (clusters == 0) throw InvalidArgument("there must be at least one cluster");
  if (layer.projections.size() != clusters)
    throw InvalidArgument("there are " + std::to_string(layer.projections.size()) +
                          " projections for " + std::to_string(clusters) + " tails");
  const std::int64_t depth = layer.x.shape[1];
  check_matrix(layer.head, "head", depth, "x");
  const std::int64_t entries = layer.head.shape[0];
  if (entries <= static_cast<std::int64_t>(clusters))
    throw InvalidArgument("head has " + std::to_string(entries) + " rows, which leaves none but " +
                          std::to_string(clusters) + " clusters");
  first_.push_back(entries - static_cast<std::int64_t>(clusters));
  for (std::size_t i = 0; i < clusters; ++i) {
    const std::string projection = numbered("projections", i);
    const std::string tail = numbered("tails", i);
    check_matrix(layer.projections[i], projection, depth, "x");
    check_matrix(layer.tails[i], tail, layer.projections[i].shape[0], projection + " has rows");
    if (layer.tails[i].shape[0] == 0) throw InvalidArgument(tail + " has no classes");
    first_.push_back(first_.back() + layer.tails[i].shape[0]);
  }
  if (!layer.head_bias) return;
  check_view(*layer.head_bias, "head_bias");
  check_data(*layer.head_bias, "head_bias");
  const std::array expected = {entries};
  if (!std::ranges::equal(layer.head_bias->shape, expected))
    throw InvalidArgument("head_bias has shape " + shape_text(layer.head_bias->shape) +
                          ", expected " + shape_text(expected));
}

std::int64_t AdaptiveClasses::cluster_of(std::int64_t c) const {
  return std::upper_bound(first_.begin(), first_.end() - 1, c) - first_.begin() - 1;
}

LinearLayer head_of(const AdaptiveLayer& layer) {
  return {layer.x, layer.head, layer.head_bias, layer.matmul};
}

void check_adaptive_output(const View& out, const char* what, DType dtype,
                           std::span<const std::int64_t> shape, const AdaptiveLayer& layer) {
  check_linear_output(out, what, dtype, shape, head_of(layer), {});
  for (const auto& of_clusters : {layer.projections, layer.tails}) {
    for (const ConstView& view : of_clusters) check_apart(out, what, {&view});
  }
}

template <class T>
ClusterRows<T>::ClusterRows(const AdaptiveLayer& layer, std::int64_t cluster, const RowSet& rows)
    : rows_(rows),
      x_(layer.x, "x"),
      projection_(layer.projections[static_cast<std::size_t>(cluster)], "projections"),
      layer_{{}, layer.tails[static_cast<std::size_t>(cluster)], {}, layer.matmul} {
  projected_.reserve(static_cast<std::int64_t>(rows.size()), projection_.rows());
  layer_.x = projected_.view();
  const Matrix p = projection_.read(0, projection_.rows());
  for_each_chunk([&](std::int64_t first, std::int64_t count, const Matrix& x) {
    multiply(x, transposed(p), projected_.rows(first, count));
  });
}

// body(first, count, rows of x), in the order of rows.
template <class T>
template <class Body>
void ClusterRows<T>::for_each_chunk(Body body) {
  const auto all = static_cast<std::int64_t>(rows_.size());
  for (std::int64_t r = 0; r < all; r += kTileRows) {
    const std::int64_t count = std::min(kTileRows, all - r);
    const auto numbers =
        std::span(rows_).subspan(static_cast<std::size_t>(r), static_cast<std::size_t>(count));
    body(r, count, x_.read(numbers));
  }
}

template <class T>
void ClusterRows<T>::add_gradients(const RowBuffer<T>& grad, const View& grad_x,
                                   const View& grad_projection) {
  const std::int64_t depth = x_.columns();
  const std::int64_t inputs = projection_.rows();
  auto* const to_x = static_cast<T*>(grad_x.data);
  auto* const to_projection = static_cast<T*>(grad_projection.data);
  const Matrix p = projection_.read(0, inputs);
  const auto add = [depth](const T* from, T* to) {
    for (std::int64_t d = 0; d < depth; ++d) to[d] += from[d];
  };
  if (to_projection != nullptr && rows_.empty()) std::fill_n(to_projection, inputs * depth, T(0));
  for_each_chunk([&](std::int64_t first, std::int64_t count, const Matrix& x) {
    const Matrix g = grad.rows(first, count);
    if (to_projection != nullptr && first == 0) {
      multiply(transposed(g), x, matrix_of(to_projection, inputs, depth, depth));
    } else if (to_projection != nullptr) {
      product_.reserve(inputs, depth);
      multiply(transposed(g), x, product_.rows(0, inputs));
      for (std::int64_t i = 0; i < inputs; ++i) add(product_.row(i), to_projection + i * depth);
    }
    if (to_x == nullptr) return;
    product_.reserve(count, depth);
    multiply(g, p, product_.rows(0, count));
    for (std::int64_t r = 0; r < count; ++r)
      add(product_.row(r), to_x + rows_[static_cast<std::size_t>(first + r)] * depth);
  });
}

template class ClusterRows<float>;
template class ClusterRows<double>;

}  // namespace fastsoftmax
