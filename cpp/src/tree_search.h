// Ways down from the root: to the most probable leaves, and to a leaf at random.
#pragma once

#include <cstdint>

#include "tree_layer.h"

namespace fastsoftmax {

struct TreeTopK {
  std::int64_t k;
  double min_log_prob;
  std::int64_t beam;  // 0: exact
  void* values;       // T, k for each row
  std::int64_t* indices;
  std::int64_t* visited;  // null: not wanted
};

template <class T>
void search_tree(const TreeSources<T>& sources, const TreeTopK& topk);
template <class T>
void sample_tree(const TreeSources<T>& sources, std::uint64_t seed, std::uint32_t position,
                 std::int64_t* out);

extern template void search_tree(const TreeSources<float>&, const TreeTopK&);
extern template void search_tree(const TreeSources<double>&, const TreeTopK&);
extern template void sample_tree(const TreeSources<float>&, std::uint64_t, std::uint32_t,
                                 std::int64_t*);
extern template void sample_tree(const TreeSources<double>&, std::uint64_t, std::uint32_t,
                                 std::int64_t*);

}  // namespace fastsoftmax
