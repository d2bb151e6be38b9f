#include "loss_columns.h"

#include <algorithm>
#include <array>

#include "dispatch.h"
#include "fastsoftmax/tune.hpp"
#include "rows_job.h"

namespace fastsoftmax {
namespace {

using kernels::Coefficients;
using kernels::kTileColumns;
using kernels::LossColumnsJob;
using kernels::LossColumnsKernels;
using kernels::LossGradient;
using kernels::RowLoss;

constexpr std::int64_t kTileBytes = 16 << 10;  // of scores, which stay in L1

// A number for each column of a tile.
using Numbers = std::array<double, LossColumns::kMaxColumns>;

struct Tile {
  alignas(64) Numbers max, log_sum, target, distance;  // as RowLoss has them
  alignas(64) Numbers weight, upstream;                // 0 for those that are ignored
  alignas(64) Numbers softmax, coefficient, at_target, excess;
  alignas(64) Numbers results;
};

const LossColumnsKernels& columns_kernels(DType dtype) {
  const kernels::KernelTable& table = kernels_in_use();
  switch (dtype) {
    case DType::f64:
      return table.loss_columns_f64;
    case DType::f16:
      return table.loss_columns_f16;
    case DType::bf16:
      return table.loss_columns_bf16;
    default:
      return table.loss_columns_f32;
  }
}

}  // namespace

LossColumns::LossColumns(const LossRows& rows, bool in_tiles) : rows_(rows) {
  const Call& call = rows.call;
  const bool f64 = call.row_dtype == DType::f64;
  if (!in_tiles || rows.softcap != 0.0 || rows.coefficients.kind == Coefficients::given ||
      call.row_length > (f64 ? kernels::kLanesF64 : kernels::kLanesF32))
    return;
  const std::int64_t column = call.row_length * (f64 ? 8 : 4);
  columns_ = std::clamp<std::int64_t>(kTileBytes / column / kTileColumns * kTileColumns,
                                      kTileColumns, kMaxColumns);
  bytes_ = columns_ * column;
  kernels_ = &columns_kernels(call.row_dtype);
  stream_ = !call.in_place && 2 * call.rows * call.row_length * itemsize(call.row_dtype) >=
                                  machine().constants.stream_bytes;
}

bool LossColumns::run(std::int64_t row, std::int64_t count, const std::int64_t* targets,
                      char* scores) const {
  const Call& call = rows_.call;
  const Offsets at = offsets_of(call.outer.view(), row);
  const Dim along = call.reduced.dims[0];
  Tile tile;
  const LossColumnsJob job{call.x + at.x,
                           call.y + at.y,
                           along.x,
                           along.y,
                           static_cast<int>(call.row_length),
                           static_cast<int>(count),
                           stream_,
                           rows_.coefficients.kind,
                           targets,
                           scores,
                           tile.max.data(),
                           tile.log_sum.data(),
                           tile.target.data(),
                           tile.distance.data(),
                           tile.softmax.data(),
                           tile.coefficient.data(),
                           tile.at_target.data(),
                           tile.excess.data()};
  if (!kernels_->find(job)) return false;

  const auto size = static_cast<std::size_t>(count);
  const bool weighted = !rows_.coefficients.class_weights.empty();
  const double upstream = rows_.upstream_of(0);
  const bool upstream_of_each = rows_.upstream.size() > 1;
  for (std::size_t r = 0; r < size; ++r) {
    tile.weight[r] = targets[r] == kIgnored ? 0.0 : 1.0;
    tile.upstream[r] = targets[r] == kIgnored ? 0.0 : upstream;
  }
  for (std::size_t r = 0; r < size && (weighted || upstream_of_each); ++r) {
    if (targets[r] == kIgnored) continue;
    tile.weight[r] = rows_.weight_of(targets[r]);
    tile.upstream[r] = rows_.upstream_of(row + static_cast<std::int64_t>(r));
  }
  const LossWeights& weights = rows_.weights;
  const auto each = [&](bool soft, bool z, auto&& body) __attribute__((always_inline)) {
    for (std::size_t r = 0; r < size; ++r) {
      const double weight = tile.weight[r];
      const LossWeights w{weights.target * weight, soft ? weights.coefficients * weight : 0.0,
                          z ? weights.z * weight : 0.0, tile.upstream[r]};
      body(r, w,
           RowLoss{RowLoss::regular, tile.max[r], tile.log_sum[r], tile.target[r],
                   soft ? static_cast<double>(call.row_length) : 0.0,
                   soft ? tile.distance[r] : 0.0});
    }
  };
  const auto for_each_row = [&](auto&& body) __attribute__((always_inline)) {
    const bool soft = job.coefficients != Coefficients::none;
    if (!soft && weights.z == 0.0)
      each(false, false, body);
    else
      each(soft, true, body);
  };
  for_each_row([&](std::size_t r, const LossWeights& w, const RowLoss& loss)
                   __attribute__((always_inline)) { tile.results[r] = loss_of(w, loss); });
  put_rows(rows_.losses, row, {tile.results.data(), size});
  if (rows_.logsumexps.data != nullptr) {
    for (std::size_t r = 0; r < size; ++r) tile.results[r] = tile.max[r] + tile.log_sum[r];
    put_rows(rows_.logsumexps, row, {tile.results.data(), size});
  }
  if (!rows_.with_gradient) return true;
  for_each_row([&](std::size_t r, const LossWeights& w, const RowLoss& loss)
                   __attribute__((always_inline)) {
                     const LossGradient gradient = gradient_of(w, loss);
                     const bool regular = gradient.kind == LossGradient::regular;
                     tile.softmax[r] = regular ? gradient.softmax : kNan;
                     tile.coefficient[r] = regular ? gradient.coefficient : kNan;
                     tile.at_target[r] = regular ? gradient.target : kNan;
                     tile.excess[r] = regular ? gradient.excess : kNan;
                   });
  const auto end =
      static_cast<std::ptrdiff_t>((size + kTileColumns - 1) / kTileColumns * kTileColumns);
  for (Numbers* n : {&tile.softmax, &tile.coefficient, &tile.at_target, &tile.excess})
    std::fill(n->begin() + count, n->begin() + end, 0.0);
  kernels_->gradient(job);
  return true;
}

}  // namespace fastsoftmax
