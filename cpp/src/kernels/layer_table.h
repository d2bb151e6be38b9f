// Jobs of output layers that look at some rows of their matrices: products of chosen rows, sums of
// chosen rows, and what trees make of the scores. Part of kernel_table.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastsoftmax {
namespace kernels {

// Rows of arithmetic elements, next to each other within a row. Row i is ids[i] - first_id, or i.
struct ChosenRows {
  const void* data;
  std::int64_t stride;  // bytes
  const std::int32_t* ids;
  std::int32_t first_id;
};

// Inner products a_i . b_j of rows of `length` elements. With offsets, row i of a meets the rows
// j in [offsets[i], offsets[i + 1]) of b, and the products are out[j]. Without, it meets the first
// `terms` rows of b, and its products begin at out[i * out_stride].
struct ProductsJob {
  ChosenRows a, b;
  std::int64_t rows;  // of a
  const std::int64_t* offsets;
  std::int64_t terms;
  std::int64_t length;
  void* out;
  std::int64_t out_stride;  // elements
};

// out_i = sum_j c_ij v_j, or that much more (add). With offsets, j in [offsets[i], offsets[i + 1]),
// and c_ij is coefficients[j]. Without, j < terms, and c_ij is coefficients[i * row_step + j *
// term_step]. Row i of out begins `out_stride` bytes behind the one before; with out_ids it is row
// out_ids[i].
struct WeightedRowsJob {
  ChosenRows v;
  std::int64_t rows;  // of out
  const std::int64_t* offsets;
  std::int64_t terms;
  const void* coefficients;
  std::int64_t row_step;  // elements
  std::int64_t term_step;
  std::int64_t length;
  void* out;
  std::int64_t out_stride;  // bytes
  const std::int32_t* out_ids;
  bool add;
};

// From the scores of nodes to log-probabilities of leaves, for as many rows as there are lanes to
// join (kDescentRows): a line of them for each node. Child c of node i goes to places[2 i + c]: a
// slot, or if negative line -1 - places[..] of `leaves`.
struct DescentJob {
  const void* scores;  // a line of arithmetic elements for each node
  std::int64_t nodes;
  const void* bias;          // an arithmetic element for each, or null
  const std::int32_t* from;  // each node's slot
  const std::int32_t* places;
  double* slots;  // a line of doubles: log-probabilities of nodes
  void* leaves;   // lines of arithmetic elements
};

struct LayerKernels {
  void (*products)(const ProductsJob& job);
  void (*weighted_rows)(const WeightedRowsJob& job);
  // log_p[i] = log sigma(s[i]); slope[i] = sigma(-s[i]), its derivative; those that are not null.
  // Either may be s.
  void (*log_sigmoid)(const void* s, std::int64_t count, void* log_p, void* slope);
  void (*descend)(const DescentJob& job);
  // log_p[i] = log Phi(x[i]); slope[i] = phi(x[i]) / Phi(x[i]), its derivative; likewise.
  void (*log_normal_cdf)(const void* x, std::int64_t count, void* log_p, void* slope);
};
struct LayerTable {
  LayerKernels f32, f64;
};

}  // namespace kernels
}  // namespace fastsoftmax
