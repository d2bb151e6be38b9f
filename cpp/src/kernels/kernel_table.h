// The binary interface between the portable core and the code compiled for one instruction set:
// plain data and function pointers, nothing inline that a linker could merge across ISAs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/layer_table.h"

// Before functions that device code (cpp/cuda) compiles too.
#ifdef __CUDACC__
#define FASTSOFTMAX_HD __host__ __device__
#else
#define FASTSOFTMAX_HD
#endif

namespace fastsoftmax {

// Storage types of the 16-bit formats; arithmetic on them is f32.
struct f16 {
  std::uint16_t bits;
};
struct bf16 {
  std::uint16_t bits;
};

namespace kernels {

enum class RowOp : int { softmax, log_softmax, logsumexp };
enum class RowAlgorithm : int {
  three_pass_reload,
  three_pass_recompute,
  two_pass,
  online,
  online_reload
};

// Lanes and block of the reduction order (docs/numerics.md). Part of the contract: changing one
// changes bits.
inline constexpr int kLanesF32 = 64;
inline constexpr int kLanesF64 = 32;
inline constexpr int kTermsPerLane = 16;
inline constexpr int kBlockF32 = kLanesF32 * kTermsPerLane;
inline constexpr int kBlockF64 = kLanesF64 * kTermsPerLane;

// Gathers elements [start, start + count) of a row into `buffer`, converted to the arithmetic type
// (f32 or f64); scatters them back converted to the output's. `row` counts from the job's origin.
using FetchFn = void (*)(const void* context, std::int64_t row, std::int64_t start, int count,
                         void* buffer);
using StoreFn = void (*)(const void* context, std::int64_t row, std::int64_t start, int count,
                         const void* buffer);

// A run of rows. Without fetch/store a row is contiguous, in the table's element type. With them
// (arithmetic types only) x and y are not used; logsumexp then stores one element per row.
struct RowsJob {
  RowOp op;
  RowAlgorithm algorithm;
  const void* x;
  void* y;
  std::int64_t x_stride;  // bytes from row to row
  std::int64_t y_stride;
  std::int64_t rows;
  std::int64_t length;
  FetchFn fetch;
  StoreFn store;
  const void* context;
  std::int64_t first_row;           // passed on to fetch and store
  const void* temperatures;         // doubles, perhaps unaligned; null: 1 for all
  std::int64_t temperature_stride;  // bytes from row to row
  void* scratch;                    // `length` arithmetic elements where reload cannot use the row
  void* block_exponents;            // online_reload: an arithmetic element for each block (and row)
  bool stream;
  bool interleave;              // online, online_reload: a row is written while the next is summed
  std::int64_t scratch_stride;  // then: bytes from one row's scratch to the other's, each with
                                // kScratchSlack to spare
  bool empty_is_zero;
};

inline constexpr int kScratchSlack = 4096;

// What the first pass of the three-pass algorithms learns of a range of blocks.
struct RowScan {
  double max;
  double min;
  std::int64_t first_block;  // the first that holds the maximum
};

// Sum of the exponentials of one block: (hi + lo) * 2^(exponent - bias); `rest` leaves out the
// block's first maximum and is there only in the ops that take a logarithm, and only for blocks
// whose maximum exceeds that of every earlier block in the range.
struct BlockSum {
  double hi, lo;
  double rest_hi, rest_lo;
  double max;
  std::int32_t exponent;
  bool has_rest;
};

// What the last pass needs to know of a row.
struct RowState {
  enum Kind : int { regular, all_nan, exceptional } kind;
  double inverse_hi, inverse_lo;  // of the sum's mantissa
  double log_sum;                 // log of the sum relative to e^max
  double max;
  std::int32_t exponent;  // of the sum; result = term under it * inverse * 2^shift
  std::int32_t shift;
};

struct RowKernels {
  void (*rows)(const RowsJob& job);
  // One row shared by several threads, block range by block range. `accumulate` fills
  // sums[first .. last); `finish` joins them in order; an exceptional row is handed to `rows`.
  RowScan (*scan)(const RowsJob& job, std::int64_t first_block, std::int64_t last_block);
  void (*accumulate)(const RowsJob& job, const RowScan& scan, std::int64_t first_block,
                     std::int64_t last_block, BlockSum* sums);
  RowState (*finish)(const RowsJob& job, const BlockSum* sums, std::int64_t blocks);
  void (*write)(const RowsJob& job, const RowState& state, std::int64_t first_block,
                std::int64_t last_block);
};

// A tile of columns, each reduced along the strided axis, from row 0 to row `length` of the tile.
// Without fetch/store a tile row is `columns` contiguous elements of the table's type; with them
// (context, tile row, first_column + column, count, buffer) it is whatever they make of it.
// logsumexp writes one tile row.
struct ColumnsJob {
  RowOp op;
  RowAlgorithm algorithm;
  const void* x;
  void* y;
  std::int64_t x_stride;  // bytes from tile row to tile row
  std::int64_t y_stride;
  std::int64_t length;
  int columns;  // at most kMaxTileColumns; times the lanes in use at most kTileColumns * all lanes
  FetchFn fetch;
  StoreFn store;
  const void* context;
  std::int64_t first_column;
  const double* temperatures;  // `columns` of them; null: 1 for all
  void* stored;     // length * columns arithmetic elements for reload, or null: y holds them
  void* workspace;  // columns_workspace bytes, aligned to 64
  bool stream;      // stores bypass the cache where y holds no stored values
  bool empty_is_zero;
};

// Tiles have this many columns, or more where columns are shorter than the lanes.
inline constexpr int kTileColumns = 64;
inline constexpr int kMaxTileColumns = 256;
// Tiles of fewer columns are walked 64 (f64: 32) rows at a time, so that registers are full.
inline constexpr int kDenseColumns = 16;

// What to make of the scores of the k largest elements of a row.
enum class TopkOutcome : int { scores, softmax, log_softmax };

// The k largest elements of each row, by value descending, then by index ascending. -0 equals +0.
struct TopkJob {
  RowsJob rows;  // where the rows are; of y, store, op, algorithm and scratch nothing is used
  TopkOutcome outcome;
  std::int64_t k;         // 1 to length
  void* values;           // k arithmetic elements for each row
  std::int64_t* indices;  // k for each row
  void* logsumexp;        // an arithmetic element for each row, or null
  // For each row how many of the k are above -inf; or kIrregular, and the row is left to the
  // caller: it may hold a NaN, or its sum would need the exceptional path.
  std::int64_t* regular;
  void* workspace;  // workspace_bytes, aligned to 64
  BlockSum* sums;   // of a shared row: one for each block
};
inline constexpr std::int64_t kIrregular = -1;

struct TopkKernels {
  std::size_t (*workspace_bytes)(std::int64_t length, std::int64_t k);
  void (*rows)(const TopkJob& job);
  // One row shared by several threads: `observe` reads a range of blocks, once for each block;
  // `select` does the rest.
  void (*observe)(const TopkJob& job, std::int64_t first_block, std::int64_t last_block);
  void (*select)(const TopkJob& job);
};

// What softmax_stats tells of a row, in the arithmetic type.
template <class T>
struct RowStats {
  T max, logsumexp, entropy, top1, margin;
};
struct StatsJob {
  RowsJob rows;  // where the rows are; of y, store, op, algorithm and scratch nothing is used
  void* stats;   // a RowStats for each row
};

// Gradients: job.rows.x holds rows of the gradient of softmax's or log_softmax's output (op says
// whose), job.rows.y gets those of the gradient of the scores. Temperatures are there for
// contiguous rows too; algorithm and scratch are not used.
struct BackwardJob {
  RowsJob rows;
  const void* output;  // rows of what the operation gave, laid out as x may be
  std::int64_t output_stride;
  const void* output_context;  // with rows.fetch
};
// The sum of a row, or of some of its blocks, is hi + lo.
struct SumPair {
  double hi, lo;
};
struct BackwardKernels {
  void (*rows)(const BackwardJob& job);
  // Rows in memory that lie next to each other; strides are from element to element of a row.
  void (*columns)(const BackwardJob& job);
  // One row shared by several threads: sums[first .. last) of its blocks, their join in order, and
  // the output of a range of blocks.
  void (*sum)(const BackwardJob& job, std::int64_t first_block, std::int64_t last_block,
              SumPair* sums);
  SumPair (*join)(const SumPair* sums, std::int64_t blocks);
  void (*write)(const BackwardJob& job, const SumPair& sum, std::int64_t first_block,
                std::int64_t last_block);
};

// Losses of rows: with M the maximum, L the log of the sum of e^(z - M), t the target and k_i the
// coefficients of the other terms, a row's loss is made of L, z_t - M and sum_i k_i (M - z_i).
enum class Coefficients : int { none, ones, given };

struct LossJob {
  RowsJob rows;  // scores; y and store are for the gradient; op, algorithm, scratch are not used
  Coefficients coefficients;
  FetchFn fetch_coefficients;  // given: as arithmetic elements
  const void* coefficients_context;
  double softcap;               // scores are softcap * tanh(z / softcap); 0: as they are
  const std::int64_t* targets;  // for each row its element, or one outside of the row: none
  bool in_parts;                // add: other elements of the rows come in other jobs
  std::int64_t first_element;   // where in its row a job's begin, to fetch_coefficients
};

// What is known of a row, whose elements may come in several jobs: all but the last end with a
// block.
struct LossTotals {
  static constexpr std::int32_t kNothing = -(1 << 28);
  double all_hi = 0, all_lo = 0;    // as those of BlockSum
  double rest_hi = 0, rest_lo = 0;  // without the first maximum
  double max = -__builtin_inf();
  std::int32_t all_exponent = kNothing, rest_exponent = kNothing;
  bool out_of_domain = false;
  double target = 0;       // its score
  SumPair scores{};        // sum of k_i z_i
  SumPair coefficients{};  // sum of k_i
};

struct RowLoss {
  // irregular: the row has no softmax, or its maximum is outside the domain of the exponential.
  enum Kind : int { regular, irregular } kind;
  double max;
  double log_sum;       // L
  double target;        // z_t - M
  double coefficients;  // sum of k_i
  double distance;      // sum of k_i (M - z_i)
};

// dz_i = softmax * p_i + coefficient * k_i, and `target` more at the target. `excess` is softmax +
// target, not formed from them: it may be all but nothing beside either.
struct LossGradient {
  enum Kind : int { regular, zero, nan } kind;
  double max, log_sum;
  double softmax, coefficient, target, excess;
};

struct LossKernels {
  void (*add)(const LossJob& job, LossTotals* totals);
  void (*finish)(const LossTotals* totals, std::int64_t rows, RowLoss* losses);
  // A row of the job that holds all of its elements, whatever they are; NaN where it has no
  // softmax.
  RowLoss (*irregular)(const LossJob& job, std::int64_t row);
  void (*gradient)(const LossJob& job, const LossGradient* gradients);
};

// Losses of rows that lie side by side: element i of column c is c elements behind x + i *
// x_stride. No column is longer than the lanes. Arrays with an element for each column have room
// for columns up to a multiple of kTileColumns.
struct LossColumnsJob {
  const void* x;
  void* y;
  std::int64_t x_stride;  // bytes
  std::int64_t y_stride;
  int length;
  int columns;
  bool stream;
  Coefficients coefficients;    // none or ones
  const std::int64_t* targets;  // as in LossJob
  void* scores;                 // `length` arithmetic elements for each column
  // For each column what RowLoss has of it.
  double* max;
  double* log_sum;
  double* target;
  double* distance;
  // What LossGradient has; all 0 and all NaN for its other kinds.
  const double* softmax;
  const double* coefficient;
  const double* at_target;
  const double* excess;
};

struct LossColumnsKernels {
  // False, and nothing is known, where a column is irregular.
  bool (*find)(const LossColumnsJob& job);
  // After find.
  void (*gradient)(const LossColumnsJob& job);
};

// Where the random numbers of a row come from: Philox4x32-10 with this key and the counter (draw,
// position, id).
struct RandomStream {
  std::uint32_t key[2];
  std::uint32_t position;
  std::uint32_t id[2];
};

// How a row is sampled (sampling.hpp).
struct SampleRow {
  std::int64_t top_k;  // below the length of the row; 0: off
  double top_p;
  double min_p;
  double typical_p;
  double top_n_sigma;
  double max_surprise;
  RandomStream random;
};
struct SampleJob {
  RowsJob rows;  // where the rows are; of y, store, op, algorithm and scratch nothing is used
  const SampleRow* how;      // for each row
  std::int64_t* indices;     // for each row, or kIrregular: a NaN, +inf, or nothing above -inf
  void* logprobs;            // an arithmetic element for each row, or null
  std::int64_t list_length;  // as workspace_bytes was asked for
  void* workspace;           // aligned to 64
  BlockSum* sums;            // one for each block of a row
};

// Elements of each row without replacement.
struct GumbelJob {
  RowsJob rows;  // likewise
  std::int64_t k;
  const RandomStream* random;  // for each row
  void* values;                // k arithmetic elements for each row
  std::int64_t* indices;       // k for each row
  // For each row how many of the k were drawn, those in the domain of the exponential; or
  // kIrregular.
  std::int64_t* regular;
  void* workspace;  // gumbel_bytes, aligned to 64
  BlockSum* sums;
};

// Rows that Gumbel noise is added to. Terms are kept in `scratch`, or in y where y is not x and
// holds arithmetic elements; `op`, `algorithm`, `stream` and `interleave` are not used.
struct LargestScore {
  double score;  // NaN where the row holds one; -inf: nothing is above it
  std::int64_t index;
};
struct GumbelSoftmaxJob : RowsJob {
  const RandomStream* random;  // for each row
  LargestScore* largest;       // for each row, or null
};
struct GumbelSoftmaxKernels {
  void (*softmax)(const GumbelSoftmaxJob& job);
  void (*largest)(const GumbelSoftmaxJob& job);  // nothing else: y, store, scratch are not used
  // Rows of zeros with a one at the largest score; NaN as softmax has it.
  void (*one_hot)(const RowsJob& job, const LargestScore* largest);
};

struct SampleKernels {
  // list_length: the row's length if filters other than top_k may be on, else the largest k.
  std::size_t (*workspace_bytes)(std::int64_t length, std::int64_t k, std::int64_t list_length);
  void (*rows)(const SampleJob& job);
  // One row shared by several threads: `observe` reads a range of blocks; `finish` does the rest.
  void (*observe)(const SampleJob& job, std::int64_t first_block, std::int64_t last_block);
  void (*finish)(const SampleJob& job);
  std::size_t (*gumbel_bytes)(std::int64_t length);
  void (*gumbel)(const GumbelJob& job);
};

// One for each kind of rows.
template <class Kernels>
struct ForRows {
  Kernels f32, f64, f16, bf16;         // contiguous rows of the type
  Kernels gathered_f32, gathered_f64;  // rows behind fetch
};

struct KernelTable {
  const char* name;
  RowKernels f32, f64, f16, bf16;              // contiguous rows of the type
  RowKernels gathered_f32, gathered_f64;       // rows behind fetch and store
  void (*columns_f32)(const ColumnsJob& job);  // likewise for tiles of columns
  void (*columns_f64)(const ColumnsJob& job);
  void (*columns_f16)(const ColumnsJob& job);
  void (*columns_bf16)(const ColumnsJob& job);
  void (*columns_gathered_f32)(const ColumnsJob& job);
  void (*columns_gathered_f64)(const ColumnsJob& job);
  std::size_t columns_workspace;
  // e^x[i] = mantissa[i] * 2^exponent[i], as the kernels form it; for tests and benchmarks.
  void (*ext_exp_f32)(const float* x, float* mantissa, float* exponent, std::size_t count);
  void (*ext_exp_f64)(const double* x, double* mantissa, double* exponent, std::size_t count);
  ForRows<TopkKernels> topk;
  void (*stats_f32)(const StatsJob& job);
  void (*stats_f64)(const StatsJob& job);
  void (*stats_gathered_f32)(const StatsJob& job);
  void (*stats_gathered_f64)(const StatsJob& job);
  ForRows<SampleKernels> sample;
  ForRows<GumbelSoftmaxKernels> gumbel_softmax;
  ForRows<BackwardKernels> backward;
  ForRows<LossKernels> loss;
  LossColumnsKernels loss_columns_f32;
  LossColumnsKernels loss_columns_f64;
  LossColumnsKernels loss_columns_f16;
  LossColumnsKernels loss_columns_bf16;
  const LayerTable& (*layers)() noexcept;
};

const KernelTable& scalar_table() noexcept;
const KernelTable& neon_table() noexcept;
const KernelTable& avx2_table() noexcept;
const KernelTable& avx512_table() noexcept;
const LayerTable& scalar_layers() noexcept;
const LayerTable& neon_layers() noexcept;
const LayerTable& avx2_layers() noexcept;
const LayerTable& avx512_layers() noexcept;

}  // namespace kernels
}  // namespace fastsoftmax
