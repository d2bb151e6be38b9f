#include "fastsoftmax/sparse_rows.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "axis_call.h"
#include "call_threads.h"
#include "gather.h"
#include "linear_matrix.h"
#include "loss_options.h"
#include "tasks.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

constexpr std::int64_t kPiece = 1024;  // elements that are converted at a time
constexpr std::int64_t kRowsAhead = 8;
constexpr std::int64_t kElementsPerTask = 1 << 15;

// A view of one or two dimensions as a matrix.
class AsMatrix {
 public:
  AsMatrix(const ConstView& view, const char* what) : view_(view) {
    check_view(view, what);
    check_data(view, what);
    const std::size_t ndim = view.shape.size();
    if (ndim != 1 && ndim != 2)
      throw InvalidArgument(std::string(what) + " must have 1 or 2 dimensions, not shape " +
                            shape_text(view.shape));
    shape_ = {view.shape[0], ndim == 2 ? view.shape[1] : 1};
    strides_ = {view.strides[0], ndim == 2 ? view.strides[1] : itemsize(view.dtype)};
    view_.shape = shape_;
    view_.strides = strides_;
  }
  AsMatrix(const AsMatrix&) = delete;
  AsMatrix& operator=(const AsMatrix&) = delete;

  const ConstView& view() const { return view_; }
  std::int64_t rows() const { return shape_[0]; }
  std::int64_t columns() const { return shape_[1]; }

 private:
  ConstView view_;
  std::array<std::int64_t, 2> shape_;
  std::array<std::int64_t, 2> strides_;
};

// Rows of a matrix, as numbers of type T.
template <class T>
class Rows {
 public:
  explicit Rows(const Call& call)
      : call_(call),
        adjacent_(call.layout == Layout::rows && call.row_dtype == dtype_of_arithmetic<T>) {}

  // Whether elements of a row are adjacent numbers of that type.
  bool adjacent() const { return adjacent_; }
  // Where such a row lies, to read and to write.
  const T* source(std::int64_t row) const {
    const std::int64_t step = call_.outer.count == 0 ? 0 : call_.outer.dims[0].x;
    return reinterpret_cast<const T*>(call_.x + row * step);
  }
  T* target(std::int64_t row) const {
    const std::int64_t step = call_.outer.count == 0 ? 0 : call_.outer.dims[0].y;
    return reinterpret_cast<T*>(call_.y + row * step);
  }
  void fetch(std::int64_t row, std::int64_t start, std::int64_t count, T* buffer) const {
    fetch_row(&call_, row, start, static_cast<int>(count), buffer);
  }
  // In place where that can be.
  const T* read(std::int64_t row, std::int64_t start, std::int64_t count, T* buffer) const {
    if (adjacent_) return source(row) + start;
    fetch(row, start, count, buffer);
    return buffer;
  }
  void write(std::int64_t row, std::int64_t start, std::int64_t count, const T* buffer) const {
    store_row(&call_, row, start, static_cast<int>(count), buffer);
  }

 private:
  Call call_;
  bool adjacent_;
};

template <class T>
Rows<T> rows_to_read(const ConstView& matrix) {
  Options options;
  options.dtype = dtype_of_arithmetic<T>;
  return Rows<T>(axis_call(matrix, 1, options));
}

template <class T>
Rows<T> rows_to_change(const View& matrix) {
  constexpr int axes[] = {1};
  return Rows<T>(make_call(Op::softmax, as_input(matrix), matrix, axes, {}, false));
}

template <class T>
void add_scaled(T* __restrict to, const T* __restrict from, std::int64_t count, T alpha) {
  for (std::int64_t i = 0; i < count; ++i) to[i] += alpha * from[i];
}

// The hardware follows rows only once it is in them.
template <class T>
void prefetch(const T* row, std::int64_t columns) {
  constexpr std::int64_t line = 64 / sizeof(T);
  constexpr std::int64_t most = 16 * line;
  for (std::int64_t c = 0; c < std::min(columns, most); c += line) __builtin_prefetch(row + c, 1);
}

// body(row) for all rows, shared out among threads.
template <class Body>
void for_each_row(std::int64_t rows, std::int64_t columns, int threads, Body body) {
  const std::int64_t each = std::max<std::int64_t>(kElementsPerTask / columns, 1);
  for_tasks(divide_up(rows, each), threads, [&](std::int64_t task, int) {
    const std::int64_t last = std::min((task + 1) * each, rows);
    for (std::int64_t row = task * each; row < last; ++row) body(row);
  });
}

// body(start, count) for the pieces of a row.
template <class Body>
void for_each_piece(std::int64_t columns, Body body) {
  for (std::int64_t start = 0; start < columns; start += kPiece)
    body(start, std::min(kPiece, columns - start));
}

template <class T>
void add_as(const View& w, std::span<const std::int64_t> ids, const ConstView& values, double alpha,
            int threads) {
  const std::int64_t columns = w.shape[1];
  const Rows<T> to = rows_to_change<T>(w);
  const Rows<T> from = rows_to_read<T>(values);
  const baseline::DefaultFloatEnvironment environment;
  const T factor = static_cast<T>(alpha);
  for_each_row(std::ssize(ids), columns, threads, [&](std::int64_t i) {
    const std::int64_t id = ids[static_cast<std::size_t>(i)];
    if (to.adjacent() && from.adjacent()) {
      if (i + kRowsAhead < std::ssize(ids))
        prefetch(to.target(ids[static_cast<std::size_t>(i + kRowsAhead)]), columns);
      return add_scaled(to.target(id), from.source(i), columns, factor);
    }
    std::array<T, kPiece> sums;
    std::array<T, kPiece> terms;
    for_each_piece(columns, [&](std::int64_t start, std::int64_t count) {
      to.fetch(id, start, count, sums.data());
      add_scaled(sums.data(), from.read(i, start, count, terms.data()), count, factor);
      to.write(id, start, count, sums.data());
    });
  });
}

[[noreturn]] void refuse_id(std::int64_t id, std::int64_t rows, const char* of) {
  throw InvalidIndex("id " + std::to_string(id) + " is out of range for " + of + " with " +
                     std::to_string(rows) + " rows");
}

void check_ids(std::span<const std::int64_t> ids) {
  if (!ids.empty() && ids[0] < 0)
    throw InvalidIndex("ids must not be negative, got " + std::to_string(ids[0]));
  for (std::size_t i = 1; i < ids.size(); ++i) {
    if (ids[i] <= ids[i - 1])
      throw InvalidArgument("ids must ascend without repetition, but ids[" + std::to_string(i) +
                            "] = " + std::to_string(ids[i]) + " follows " +
                            std::to_string(ids[i - 1]));
  }
}

std::vector<std::int64_t> ids_of(const ConstView& view) {
  check_view(view, "ids");
  if (view.shape.size() != 1)
    throw InvalidArgument("ids must have 1 dimension, not shape " + shape_text(view.shape));
  return elements_of<std::int64_t>(view, view.shape, "ids");
}

void check_rows(std::span<const std::int64_t> ids, const ConstView& values) {
  if (values.shape[0] != std::ssize(ids))
    throw InvalidArgument("values has " + std::to_string(values.shape[0]) + " rows for " +
                          std::to_string(ids.size()) + " ids");
}

void add_checked(const View& w, std::span<const std::int64_t> ids, const ConstView& values,
                 double alpha, int max_threads) {
  const int threads = call_threads(max_threads);
  if (!is_floating(w.dtype))
    throw InvalidType("W has dtype " + std::string(name(w.dtype)) + ", expected a floating type");
  const AsMatrix to(as_input(w), "W");
  const AsMatrix from(values, "values");
  check_rows(ids, values);
  if (w.shape.size() != values.shape.size() || from.columns() != to.columns())
    throw InvalidArgument("values of shape " + shape_text(values.shape) +
                          " does not fit the rows of W of shape " + shape_text(w.shape));
  check_ids(ids);
  if (!ids.empty() && ids.back() >= to.rows()) refuse_id(ids.back(), to.rows(), "W");
  if (overlaps_itself(w))
    throw InvalidArgument("elements of W share memory (a broadcast or overlapping view)");
  check_apart(w, "W", {&values});
  if (ids.empty() || to.columns() == 0) return;
  const View matrix{w.data, w.dtype, to.view().shape, to.view().strides, w.byteswapped};
  const auto add = w.dtype == DType::f64 ? add_as<double> : add_as<float>;
  add(matrix, ids, from.view(), alpha, threads);
}

struct Appearance {
  std::int64_t id;
  std::int64_t row;

  auto operator<=>(const Appearance&) const = default;
};

template <class T>
void sum_as(const ConstView& values, std::span<const Appearance> rows,
            std::span<const std::size_t> starts, SparseRows& sums, int threads) {
  const std::int64_t columns = sums.columns();
  const Rows<T> from = rows_to_read<T>(values);
  T* const all = static_cast<T*>(sums.values());
  for_each_row(std::ssize(sums.ids()), columns, threads, [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    std::array<T, kPiece> terms;
    for_each_piece(columns, [&](std::int64_t start, std::int64_t count) {
      T* const to = all + i * columns + start;
      const auto read = [&](std::size_t r) {
        return from.read(rows[r].row, start, count, terms.data());
      };
      std::copy_n(read(starts[at]), count, to);
      for (std::size_t r = starts[at] + 1; r < starts[at + 1]; ++r)
        add_scaled(to, read(r), count, T(1));
    });
  });
}

}  // namespace

SparseRows::SparseRows(std::vector<std::int64_t> ids, std::int64_t columns, DType dtype)
    : ids_(std::move(ids)), columns_(columns), dtype_(dtype) {
  check_ids(ids_);
  if (columns < 0)
    throw InvalidArgument("columns must not be negative, got " + std::to_string(columns));
  if (dtype != DType::f32 && dtype != DType::f64)
    throw InvalidType("values must be float32 or float64, not " + std::string(name(dtype)));
  const std::int64_t bytes = std::ssize(ids_) * columns * itemsize(dtype);
  if (bytes > 0) values_.reset(allocate_aligned(static_cast<std::size_t>(bytes)));
}

void SparseRows::add_to(const View& w, double alpha, int max_threads) const {
  const std::array<std::int64_t, 2> shape = {std::ssize(ids_), columns_};
  const std::array<std::int64_t, 2> strides = {columns_ * itemsize(dtype_), itemsize(dtype_)};
  const std::size_t ndim = w.shape.size() == 1 && columns_ == 1 ? 1 : 2;
  const ConstView values{
      values_.get(), dtype_, {shape.data(), ndim}, {strides.data(), ndim}, false};
  add_checked(w, ids_, values, alpha, max_threads);
}

void add_rows(const View& w, const ConstView& ids, const ConstView& values, double alpha,
              int max_threads) {
  add_checked(w, ids_of(ids), values, alpha, max_threads);
}

SparseRows coalesce_rows(const ConstView& ids, const ConstView& values, std::int64_t num_rows,
                         int max_threads) {
  const int threads = call_threads(max_threads);
  const std::vector<std::int64_t> given = ids_of(ids);
  const AsMatrix from(values, "values");
  check_rows(given, values);
  std::vector<Appearance> rows(given.size());
  for (std::size_t i = 0; i < given.size(); ++i) {
    if (given[i] < 0 || given[i] >= num_rows) refuse_id(given[i], num_rows, "a matrix");
    rows[i] = {given[i], static_cast<std::int64_t>(i)};
  }
  std::ranges::sort(rows);

  std::vector<std::int64_t> unique;
  std::vector<std::size_t> starts;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (!unique.empty() && unique.back() == rows[r].id) continue;
    unique.push_back(rows[r].id);
    starts.push_back(r);
  }
  starts.push_back(rows.size());
  const bool f64 = result_dtype(values.dtype) == DType::f64;
  SparseRows sums(std::move(unique), from.columns(), f64 ? DType::f64 : DType::f32);
  if (!rows.empty() && from.columns() > 0)
    (f64 ? sum_as<double> : sum_as<float>)(from.view(), rows, starts, sums, threads);
  return sums;
}

}  // namespace fastsoftmax
