#include "linear_gradients.h"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "call_threads.h"

namespace fastsoftmax {
namespace {

// Inputs of a layer: see LinearGradients::add.
constexpr std::int64_t kNarrow = 64;

// Of products on their way to a sum.
constexpr std::int64_t kProductBytes = 4 << 20;

// Rows of a product so many at a time that what is added fits.
template <class T>
std::int64_t rows_at_once(std::int64_t columns) {
  const std::int64_t bytes =
      std::max<std::int64_t>(columns, 1) * static_cast<std::int64_t>(sizeof(T));
  return std::max<std::int64_t>(kProductBytes / bytes, 16);
}

// body(first, last) for parts of [0, count), on several threads; `elements` each of them costs.
template <class Body>
void in_parts(std::int64_t count, std::int64_t elements, int threads, Body body) {
  const int used = threads_for(count * elements, threads);
  const std::int64_t step = divide_up(count, used);
  for_tasks(used, used, [&](std::int64_t task, int) {
    body(std::min(count, task * step), std::min(count, (task + 1) * step));
  });
}

template <class T>
double sum_of(const T* values, std::int64_t count) {
  constexpr std::int64_t lanes = 8;
  double sums[lanes] = {};
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    for (std::int64_t k = 0; k < lanes; ++k) sums[k] += static_cast<double>(values[i + k]);
  }
  for (; i < count; ++i) sums[i % lanes] += static_cast<double>(values[i]);
  return std::accumulate(std::begin(sums), std::end(sums), 0.0);
}

template <class T>
void add_to(const T* from, std::int64_t count, T* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] += from[i];
}

}  // namespace

template <class T>
LinearGradients<T>::LinearGradients(LinearScores<T>& scores, const RowSet& rows,
                                    LinearRows<T>& of_rows,
                                    const std::vector<kernels::LossGradient>& gradients,
                                    const LinearCrossEntropyOutputs& out, double mass_tol)
    : scores_(scores),
      rows_(rows),
      of_rows_(of_rows),
      gradients_(gradients),
      grad_x_(static_cast<T*>(out.grad_x.data)),
      grad_w_(static_cast<T*>(out.grad_w.data)),
      grad_bias_(static_cast<T*>(out.grad_bias.data)),
      mass_tol_(mass_tol),
      x_begun_(static_cast<std::size_t>(scores.rows()), false),
      left_out_(rows.size(), 0.0) {
  if (grad_bias_ != nullptr) bias_.assign(static_cast<std::size_t>(scores.classes()), 0.0);
}

template <class T>
void LinearGradients<T>::add(const Tile<T>& tile, const Matrix& x) {
  // Runs of classes that are not skipped make one product with w, unless inputs are so few that
  // reading their gradients from memory again would take longer than adding one product more.
  const bool narrow = scores_.depth() <= kNarrow;
  const std::int64_t end = tile.first_class + tile.classes;
  const std::int64_t step = mass_tol_ > 0.0 ? kBlock<T> : kTileClasses;
  std::int64_t run = tile.first_class;
  for (std::int64_t c = tile.first_class; c < end; c += step) {
    const Tile<T> block = tile.part(c, std::min(step, end - c));
    if (mass_tol_ > 0.0 && skips(block)) {
      if (c > run) add_to_x(tile.part(run, c - run));
      run = c + block.classes;
      if (grad_w_ != nullptr && run > w_begun_) {
        std::fill(grad_w_ + w_begun_ * scores_.depth(), grad_w_ + run * scores_.depth(), T(0));
        w_begun_ = run;
      }
    } else {
      add_block(block, x);
      if (narrow) {
        add_to_x(block);
        run = c + block.classes;
      }
    }
  }
  if (end > run) add_to_x(tile.part(run, end - run));
}

// A row may leave out as much as its share of the classes up to here, so that the first ones, which
// are the frequent ones in many vocabularies, leave their share to the others.
template <class T>
bool LinearGradients<T>::skips(const Tile<T>& block) {
  if (of_rows_.has_target(block)) return false;
  masses_.resize(static_cast<std::size_t>(block.rows));
  of_rows_.masses(block, gradients_, masses_.data());
  const double allowed = mass_tol_ * static_cast<double>(block.first_class + block.classes) /
                         static_cast<double>(scores_.classes());
  double* const left_out = left_out_.data() + block.first_row;
  for (std::int64_t r = 0; r < block.rows; ++r) {
    if (!(left_out[r] + masses_[static_cast<std::size_t>(r)] <= allowed)) return false;
  }
  for (std::int64_t r = 0; r < block.rows; ++r) left_out[r] += masses_[static_cast<std::size_t>(r)];
  return true;
}

template <class T>
void LinearGradients<T>::add_block(const Tile<T>& block, const Matrix& x) {
  of_rows_.write_gradient(block, gradients_);
  if (grad_bias_ != nullptr) add_to_bias(block);
  if (grad_w_ != nullptr) add_to_w(block, x);
}

template <class T>
void LinearGradients<T>::add_to_bias(const Tile<T>& block) {
  in_parts(block.classes, block.rows, scores_.threads(),
           [&](std::int64_t first, std::int64_t last) {
             for (std::int64_t c = block.first_class + first; c < block.first_class + last; ++c)
               bias_[static_cast<std::size_t>(c)] += sum_of(block.at(c), block.rows);
           });
}

template <class T>
void LinearGradients<T>::add_to_w(const Tile<T>& block, const Matrix& x) {
  const std::int64_t depth = scores_.depth();
  const std::int64_t end = block.first_class + block.classes;
  std::int64_t c = block.first_class;
  if (c >= w_begun_) {
    scores_.multiply(block.matrix(), x,
                     matrix_of(grad_w_ + c * depth, block.classes, depth, depth));
    w_begun_ = end;
    return;
  }
  for (const std::int64_t most = rows_at_once<T>(depth); c < end; c += most) {
    const Tile<T> part = block.part(c, std::min(most, end - c));
    T* const product = scores_.memory().products.reserve(part.classes * depth);
    scores_.multiply(part.matrix(), x, matrix_of(product, part.classes, depth, depth));
    in_parts(part.classes, depth, scores_.threads(), [&](std::int64_t first, std::int64_t last) {
      add_to(product + first * depth, (last - first) * depth, grad_w_ + (c + first) * depth);
    });
  }
}

template <class T>
void LinearGradients<T>::add_to_x(const Tile<T>& tile) {
  if (grad_x_ == nullptr) return;
  const std::int64_t depth = scores_.depth();
  const std::int64_t end = tile.first_class + tile.classes;
  const std::int64_t step =
      scores_.w_is_direct() ? tile.classes : scores_.classes_at_once(kTileRows);
  const std::int64_t* const numbers = rows_.data() + tile.first_row;
  const bool together = numbers[tile.rows - 1] - numbers[0] == tile.rows - 1;
  for (std::int64_t c = tile.first_class; c < end; c += step) {
    const Tile<T> part = tile.part(c, std::min(step, end - c));
    const Matrix w = scores_.w_rows(c, part.classes);
    const Matrix g = transposed(part.matrix());
    if (together && !x_begun_[static_cast<std::size_t>(numbers[0])]) {
      scores_.multiply(g, w, matrix_of(grad_x_ + numbers[0] * depth, tile.rows, depth, depth));
    } else {
      T* const product = scores_.memory().products.reserve(tile.rows * depth);
      scores_.multiply(g, w, matrix_of(product, tile.rows, depth, depth));
      in_parts(tile.rows, depth, scores_.threads(), [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t r = first; r < last; ++r) {
          T* const to = grad_x_ + numbers[r] * depth;
          if (x_begun_[static_cast<std::size_t>(numbers[r])])
            add_to(product + r * depth, depth, to);
          else
            std::copy_n(product + r * depth, depth, to);
        }
      });
    }
    for (std::int64_t r = 0; r < tile.rows; ++r)
      x_begun_[static_cast<std::size_t>(numbers[r])] = true;
  }
}

template <class T>
void LinearGradients<T>::finish() {
  const std::int64_t depth = scores_.depth();
  if (grad_x_ != nullptr) {
    for (std::int64_t r = 0; r < scores_.rows(); ++r) {
      if (!x_begun_[static_cast<std::size_t>(r)]) std::fill_n(grad_x_ + r * depth, depth, T(0));
    }
  }
  if (grad_w_ != nullptr)
    std::fill(grad_w_ + w_begun_ * depth, grad_w_ + scores_.classes() * depth, T(0));
  for (std::size_t c = 0; c < bias_.size(); ++c) grad_bias_[c] = static_cast<T>(bias_[c]);
}

template class LinearGradients<float>;
template class LinearGradients<double>;

}  // namespace fastsoftmax
