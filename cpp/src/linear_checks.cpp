#include "linear_checks.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "axis_call.h"
#include "loss_options.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

void check_matrix(const ConstView& view, const char* what) {
  check_view(view, what);
  check_data(view, what);
  if (view.shape.size() != 2)
    throw InvalidArgument(std::string(what) + " must have 2 dimensions, not shape " +
                          shape_text(view.shape));
}

}  // namespace

Vocabulary::Vocabulary(std::int64_t start, std::optional<std::int64_t> size, std::int64_t rows)
    : start_(start), rows_(rows), least_(size ? 0 : start) {
  if (start < 0 || start > INT64_MAX - rows)
    throw InvalidArgument("vocab_start must not be negative or exceed 64 bits, got " +
                          std::to_string(start));
  end_ = size ? *size : start + rows;
  if (end_ < start + rows)
    throw InvalidArgument("there are " + std::to_string(rows) + " classes from " +
                          std::to_string(start) + " on, more than vocab_size " +
                          std::to_string(end_));
}

void Vocabulary::refuse(const std::string& what) const {
  throw InvalidIndex(
      what + " is out of bounds for " +
      (size() == 0 ? "no classes"
                   : "classes " + std::to_string(least_) + " to " + std::to_string(end_ - 1)));
}

void check_layer(const LinearLayer& layer) {
  check_matrix(layer.x, "x");
  check_matrix(layer.w, "W");
}

void check_dense(const View& out, const char* what, DType dtype,
                 std::span<const std::int64_t> shape) {
  const std::string name_of = what;
  if (out.dtype != dtype)
    throw InvalidType(name_of + " has dtype " + std::string(name(out.dtype)) + ", expected " +
                      std::string(name(dtype)));
  if (!std::ranges::equal(out.shape, shape) || out.strides.size() != shape.size())
    throw InvalidArgument(name_of + " has shape " + shape_text(out.shape) + ", expected " +
                          shape_text(shape));
  bool dense = !out.byteswapped;
  bool empty = false;
  std::int64_t step = itemsize(dtype);
  for (std::size_t d = shape.size(); d-- > 0; step *= shape[d]) {
    dense = dense && (shape[d] <= 1 || out.strides[d] == step);
    empty = empty || shape[d] == 0;
  }
  if (empty) return;
  if (!dense) throw InvalidArgument(name_of + " must be dense in C order and in native byte order");
  if (out.data == nullptr) throw InvalidArgument(name_of + " has no data");
}

void check_linear_output(const View& out, const char* what, DType dtype,
                         std::span<const std::int64_t> shape, const LinearLayer& layer,
                         std::initializer_list<const ConstView*> others) {
  check_dense(out, what, dtype, shape);
  check_apart(out, what, {&layer.x, &layer.w, layer.bias ? &*layer.bias : nullptr});
  check_apart(out, what, others);
}

std::vector<std::int64_t> read_ids(const ConstView& ids, std::int64_t rows, std::int64_t classes) {
  check_view(ids, "ids");
  if (ids.shape.empty() || ids.shape.size() > 2 || ids.shape[0] != rows)
    throw InvalidArgument("ids have shape " + shape_text(ids.shape) + " for " +
                          std::to_string(rows) + " rows; expected (N,) or (N, M)");
  check_dtype(ids, DType::i64, "ids");
  auto values = elements_of<std::int64_t>(ids, ids.shape, "ids");
  const std::int64_t per_row = ids.shape.size() == 2 ? ids.shape[1] : 1;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i] < 0 || values[i] >= classes)
      throw InvalidIndex("id " + std::to_string(values[i]) + " of row " +
                         std::to_string(static_cast<std::int64_t>(i) / per_row) +
                         " is out of bounds for " + std::to_string(classes) + " classes");
  }
  return values;
}

RowSet all_rows(std::int64_t count) {
  RowSet rows(static_cast<std::size_t>(count));
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  return rows;
}

}  // namespace fastsoftmax
