#include "row_source.h"

namespace fastsoftmax {

template <class T>
RowSource<T>::RowSource(const ConstView& view, const char* what)
    : call_(columns_of_matrix<T>(view, what)),
      rows_(view.shape[0]),
      columns_(view.shape[1]),
      direct_(call_.aligned && (columns_ <= 1 || view.strides[1] == sizeof(T))),
      data_(static_cast<const char*>(view.data)),
      stride_(view.strides[0]) {}

template <class T>
void RowSource<T>::copy(std::int64_t row, T* to) const {
  convert_row(call_, row, to);
}

template <class T>
kernels::ChosenRows RowSource<T>::choose(const std::int32_t* ids, std::int64_t count,
                                         std::int32_t first_id, T* buffer) const {
  if (direct_) {
    if (ids == nullptr) return {data_ + first_id * stride_, stride_, nullptr, 0};
    return {data_, stride_, ids, first_id};
  }
  for (std::int64_t i = 0; i < count; ++i)
    copy(ids == nullptr ? first_id + i : ids[i] - first_id, buffer + i * columns_);
  return {buffer, columns_ * static_cast<std::int64_t>(sizeof(T)), nullptr, 0};
}

template <class T>
kernels::ChosenRows RowSource<T>::all(Buffer<T>& memory) const {
  return choose(nullptr, rows_, 0, direct_ ? nullptr : memory.reserve(rows_ * columns_));
}

template class RowSource<float>;
template class RowSource<double>;

}  // namespace fastsoftmax
