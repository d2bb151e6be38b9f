#include "view_checks.h"

#include <charconv>
#include <cstdlib>
#include <utility>

namespace fastsoftmax {
namespace {

struct Extent {
  const char* begin;
  const char* end;

  bool overlaps(const Extent& other) const { return begin < other.end && other.begin < end; }
};

Extent extent(const ConstView& view) {
  const char* begin = static_cast<const char*>(view.data);
  const char* end = begin + itemsize(view.dtype);
  for (std::size_t i = 0; i < view.shape.size(); ++i) {
    if (view.shape[i] == 0) return {begin, begin};
    const std::int64_t reach = (view.shape[i] - 1) * view.strides[i];
    (reach < 0 ? begin : end) += reach;
  }
  return {begin, end};
}

}  // namespace

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

std::string number_text(double number) {
  std::array<char, 32> text{};
  std::to_chars(text.data(), text.data() + text.size(), number);
  return text.data();
}

void check_view(const ConstView& view, const char* what) {
  if (view.shape.size() != view.strides.size())
    throw InvalidArgument(std::string(what) + " has " + std::to_string(view.shape.size()) +
                          " dimensions but " + std::to_string(view.strides.size()) + " strides");
  if (view.shape.size() > kMaxDims)
    throw InvalidArgument(std::string(what) + " has more than " + std::to_string(kMaxDims) +
                          " dimensions");
  for (const std::int64_t size : view.shape) {
    if (size < 0) throw InvalidArgument(std::string(what) + " has a negative length");
  }
}

void check_data(const ConstView& view, const char* what) {
  const bool empty = std::find(view.shape.begin(), view.shape.end(), 0) != view.shape.end();
  if (view.data == nullptr && !empty) throw InvalidArgument(std::string(what) + " has no data");
}

void broadcast(const ConstView& view, std::span<const std::int64_t> shape, const char* what,
               std::array<std::int64_t, kMaxDims>& strides) {
  check_view(view, what);
  const std::size_t skip = shape.size() - std::min(shape.size(), view.shape.size());
  bool fits = view.shape.size() <= shape.size();
  for (std::size_t i = 0; fits && i < shape.size(); ++i) {
    strides[i] = 0;
    if (i < skip) continue;
    const std::int64_t size = view.shape[i - skip];
    fits = size == shape[i] || size == 1;
    if (size != 1) strides[i] = view.strides[i - skip];
  }
  if (!fits)
    throw InvalidArgument(std::string(what) + " of shape " + shape_text(view.shape) +
                          " does not broadcast to the shape " + shape_text(shape) + " of x");
}

void check_per_row(const ConstView& view, std::span<const std::int64_t> shape,
                   std::span<const bool> reduced, const char* what) {
  const std::size_t skip = shape.size() - view.shape.size();
  for (std::size_t i = skip; i < shape.size(); ++i) {
    if (reduced[i] && view.shape[i - skip] != 1)
      throw InvalidArgument(std::string(what) + " of shape " + shape_text(view.shape) +
                            " must have length 1 along the reduced axes");
  }
}

// Sufficient for distinct elements never to share memory: each stride steps over all of what the
// smaller ones reach.
bool overlaps_itself(const View& view) {
  std::array<std::pair<std::int64_t, std::int64_t>, kMaxDims> axes;  // |stride|, size
  std::size_t count = 0;
  for (std::size_t i = 0; i < view.shape.size(); ++i) {
    if (view.shape[i] == 0) return false;
    if (view.shape[i] > 1) axes[count++] = {std::abs(view.strides[i]), view.shape[i]};
  }
  std::sort(axes.begin(), axes.begin() + static_cast<std::ptrdiff_t>(count));
  std::int64_t reach = itemsize(view.dtype);
  for (std::size_t i = 0; i < count; ++i) {
    if (axes[i].first < reach) return true;
    reach += (axes[i].second - 1) * axes[i].first;
  }
  return false;
}

ConstView as_input(const View& v) { return {v.data, v.dtype, v.shape, v.strides, v.byteswapped}; }

bool may_share_memory(const ConstView& a, const ConstView& b) {
  return a.data != nullptr && b.data != nullptr && extent(a).overlaps(extent(b));
}

}  // namespace fastsoftmax
