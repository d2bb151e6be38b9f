#include "rows_job.h"

#include "gather.h"

namespace fastsoftmax {

using kernels::KernelTable;
using kernels::RowKernels;
using kernels::RowsJob;

Offsets offsets_of(std::span<const Dim> dims, std::int64_t index) {
  Offsets at;
  for (std::size_t d = dims.size(); d-- > 0;) {
    const std::int64_t step = index % dims[d].size;
    at.x += dims[d].x * step;
    at.y += dims[d].y * step;
    at.where += dims[d].where * step;
    at.temperature += dims[d].temperature * step;
    index /= dims[d].size;
  }
  return at;
}

std::int64_t rows_per_run(const Call& call) {
  const auto dims = call.outer.view();
  return dims.empty() ? 1 : dims.back().size;
}

RowsJob rows_job(const Call& call, std::int64_t row, std::int64_t rows) {
  const auto dims = call.outer.view();
  const Offsets at = offsets_of(dims, row);
  const Dim step = dims.empty() ? Dim{} : dims.back();
  RowsJob job{};
  job.x = call.x + at.x;
  job.y = call.y + at.y;
  job.x_stride = step.x;
  job.y_stride = step.y;
  job.rows = rows;
  job.length = call.row_length;
  if (!call.direct) {
    job.fetch = fetch_row;
    job.store = store_row;
    job.context = &call;
    job.first_row = row;
  }
  job.temperatures = call.temperatures == nullptr ? static_cast<const void*>(&call.temperature)
                                                  : call.temperatures + at.temperature;
  job.temperature_stride = call.temperatures == nullptr ? 0 : step.temperature;
  job.empty_is_zero = call.empty == EmptyRow::zero;
  return job;
}

const RowKernels& row_kernels(const KernelTable& table, const Call& call) {
  if (!call.direct) return call.row_dtype == DType::f64 ? table.gathered_f64 : table.gathered_f32;
  switch (call.row_dtype) {
    case DType::f64:
      return table.f64;
    case DType::f16:
      return table.f16;
    case DType::bf16:
      return table.bf16;
    default:
      return table.f32;
  }
}

}  // namespace fastsoftmax
