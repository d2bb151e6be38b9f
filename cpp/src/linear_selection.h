// The k largest scores of rows whose scores come strip by strip: those of each block by the kernels
// of top-k, and merged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "linear_tiles.h"

namespace fastsoftmax {

template <class T>
struct Scored {
  T score;
  std::int64_t index;
};

// Whether a comes before b: NaN counts as largest, ties go to the lower class.
template <class T>
bool precedes(const Scored<T>& a, const Scored<T>& b) {
  const bool a_nan = a.score != a.score;
  const bool b_nan = b.score != b.score;
  if (a_nan != b_nan) return a_nan;
  if (!a_nan && a.score != b.score) return a.score > b.score;
  return a.index < b.index;
}

template <class T>
class Selection {
 public:
  // values, indices: k for each row, those of the best so far, in order. At least k classes must
  // come by; k is positive.
  Selection(LinearScores<T>& scores, std::int64_t k, T* values, std::int64_t* indices);

  // A strip, with the memory of a worker. The strips of a row come in the order of classes.
  void take(const Strip<T>& strip, int worker) {
    take(strip, carve(workers_ + worker * static_cast<std::int64_t>(bytes_)));
  }

 private:
  struct Memory {
    T* values;
    std::int64_t* indices;
    std::int64_t* regular;
    Scored<T>* merged;
    char* workspace;
    std::size_t bytes;
  };
  Memory carve(char* at) const;
  void take(const Strip<T>& strip, const Memory& m);
  void merge(std::int64_t row, const T* values, const std::int64_t* indices, std::int64_t count,
             Scored<T>* merged);

  std::int64_t k_;
  T* values_;
  std::int64_t* indices_;
  const kernels::TopkKernels& kernels_;
  std::int64_t found_;  // of a block, at most
  std::vector<std::int64_t> kept_;
  std::size_t bytes_;
  Buffer<char> memory_;
  char* workers_;
};

extern template class Selection<float>;
extern template class Selection<double>;

}  // namespace fastsoftmax
