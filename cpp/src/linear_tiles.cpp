#include "linear_tiles.h"

#include <string>
#include <utility>

#include "call_threads.h"
#include "transpose.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

// Of weights that are converted to be multiplied.
constexpr std::int64_t kConvertedBytes = 4 << 20;
// Lines of a tile that are asked for ahead.
constexpr std::int64_t kLinesAhead = 24;

template <class T>
std::vector<T> bias_of(const LinearLayer& layer) {
  if (!layer.bias) return {};
  std::vector<T> bias = converted_elements<T>(*layer.bias, "bias");
  if (static_cast<std::int64_t>(bias.size()) != layer.w.shape[0])
    throw InvalidArgument("bias has " + std::to_string(bias.size()) + " elements for " +
                          std::to_string(layer.w.shape[0]) + " classes");
  return bias;
}

// From products of classes from `first` on to scores.
template <class T>
void finish_scores(const Finish<T>& how, std::int64_t first, std::int64_t count, T* z) {
  if (how.bias != nullptr) {
    const T* const bias = how.bias + first;
    for (std::int64_t c = 0; c < count; ++c) z[c] += bias[c];
  }
  if (how.temperature != T(1)) {
    for (std::int64_t c = 0; c < count; ++c) z[c] /= how.temperature;
  }
}

}  // namespace

DType linear_dtype(DType x, DType w) noexcept {
  const bool f64 = result_dtype(x) == DType::f64 || result_dtype(w) == DType::f64;
  return f64 ? DType::f64 : DType::f32;
}

template <class T>
Strip<T> strip_of(const Tile<T>& tile, std::int64_t row, std::int64_t block, const Finish<T>& how,
                  T* to) {
  Strip<T> strip = strip_at(tile, row, block);
  strip.data = to;
  strip.stride = kStripStride<T>;
  if (tile.by_rows) {
    for (std::int64_t r = 0; r < strip.rows; ++r)
      std::copy_n(tile.at(strip.first_class, row + r), strip.classes, strip.row(r));
  } else {
    transpose(tile.at(strip.first_class, row), tile.stride, strip.classes, strip.rows, to,
              strip.stride, kLinesAhead);
  }
  if (!how.is_nothing()) {
    for (std::int64_t r = 0; r < strip.rows; ++r)
      finish_scores(how, strip.first_class, strip.classes, strip.row(r));
  }
  return strip;
}

template <class T>
void put_strip(const Strip<T>& strip, const Tile<T>& tile) {
  T* to = tile.at(strip.first_class, strip.first_row - tile.first_row);
  // Four classes at a time, so that lines of the tile are filled while they are at hand.
  for (std::int64_t c = 0; c < strip.classes; c += 4, to += 4 * tile.stride)
    transpose(strip.data + c, strip.stride, strip.rows,
              std::min<std::int64_t>(4, strip.classes - c), to, tile.stride);
}

template Strip<float> strip_of(const Tile<float>&, std::int64_t, std::int64_t, const Finish<float>&,
                               float*);
template Strip<double> strip_of(const Tile<double>&, std::int64_t, std::int64_t,
                                const Finish<double>&, double*);
template void put_strip(const Strip<float>&, const Tile<float>&);
template void put_strip(const Strip<double>&, const Tile<double>&);

namespace {

constexpr std::int64_t kKeptBytes = 256 << 20;

template <class T>
struct Kept {
  Buffer<T> tile, strips, products;
};
template <class T>
Kept<T>& kept() {
  static thread_local Kept<T> kept;
  return kept;
}

}  // namespace

template <class T>
LinearMemory<T>::LinearMemory()
    : tile(std::move(kept<T>().tile)),
      strips(std::move(kept<T>().strips)),
      products(std::move(kept<T>().products)) {}

template <class T>
LinearMemory<T>::~LinearMemory() {
  constexpr std::int64_t item = sizeof(T);
  if ((tile.size() + strips.size() + products.size()) * item > kKeptBytes) return;
  kept<T>() = Kept<T>{std::move(tile), std::move(strips), std::move(products)};
}

template struct LinearMemory<float>;
template struct LinearMemory<double>;

template <class T>
LinearScores<T>::LinearScores(const LinearLayer& layer, double temperature, int max_threads)
    : x_(layer.x, "x"), w_(layer.w, "W"), matmul_(layer.matmul) {
  if (matmul_.run == nullptr) throw InvalidArgument("matmul is not set");
  if (x_.columns() != w_.columns())
    throw InvalidArgument("x of shape " + shape_text(layer.x.shape) + " and W of shape " +
                          shape_text(layer.w.shape) + " differ in their last dimension");
  threads_ = call_threads(max_threads);
  if (!is_valid_temperature(temperature, dtype_of_arithmetic<T>))
    throw InvalidArgument("temperature must be positive and finite, got " +
                          number_text(temperature));
  bias_ = bias_of<T>(layer);
  finish_ = {layer.bias ? bias_.data() : nullptr, static_cast<T>(temperature)};
}

template <class T>
std::int64_t LinearScores<T>::classes_at_once(std::int64_t rows) const {
  std::int64_t fitting = kTileRows * kTileClasses / std::max<std::int64_t>(rows, 1);
  if (!w_.is_direct()) {
    const std::int64_t bytes = std::max<std::int64_t>(depth(), 1) * sizeof(T);
    fitting = std::min(fitting, kConvertedBytes / bytes);
  }
  return std::clamp(fitting / kBlock<T> * kBlock<T>, kBlock<T>, kMostTileClasses);
}

template <class T>
void LinearScores<T>::write(const RowSet& rows, std::int64_t first, std::int64_t count, T* to) {
  const Matrix x = x_rows(rows, first, count);
  const std::int64_t step = classes_at_once(count);
  for (std::int64_t c = 0; c < classes(); c += step) {
    const std::int64_t now = std::min(step, classes() - c);
    multiply(x, transposed(w_rows(c, now)), matrix_of(to + c, count, now, classes()));
  }
  for (std::int64_t r = 0; r < count; ++r) finish_scores(finish_, 0, classes(), to + r * classes());
}

template class LinearScores<float>;
template class LinearScores<double>;

}  // namespace fastsoftmax
