// What the core and libfastsoftmax_cuda say to each other: plain data and a table of functions.
// The library is found at run time, so that the core knows nothing of CUDA. Sizes count elements,
// strides bytes.
#pragma once

#include <cstdint>

#include "fastsoftmax/types.hpp"
#include "kernels/kernel_table.h"

namespace fastsoftmax::cuda {

// Axes that no operand walks as one.
inline constexpr int kMaxAxes = 8;

struct Axis {
  std::int64_t size;
  std::int64_t x;
  std::int64_t y;
  std::int64_t where;
  std::int64_t temperature;
};
struct Axes {
  int count;
  Axis axis[kMaxAxes];  // in C order; the last varies fastest
};

enum class Layout : int {
  rows,      // contiguous, nothing left out
  gathered,  // any strides, or a mask
  columns    // along one axis, with another on which x and y are contiguous
};

// softmax, log_softmax or logsumexp of arrays on one device.
struct RowsCall {
  kernels::RowOp op;
  DType dtype;  // of x and y; a floating type
  Layout layout;
  bool empty_is_zero;
  double temperature;
  const char* temperatures;  // null: `temperature` for all rows
  DType temperature_dtype;   // any
  const char* x;
  char* y;
  const char* where;  // null: everything is admitted
  std::int64_t rows;  // with columns: without the inner axis
  std::int64_t length;
  Axes outer;
  Axes reduced;
  Axis inner;  // of columns: the contiguous axis
};

struct BackwardCall;  // backward_call.h
struct TopkRowsCall;  // selection.h

// Thread blocks of a cluster at most, on devices of compute capability 9.0 and newer.
inline constexpr int kMaxCluster = 8;

struct Device {
  int sms;
  int shared_per_block;  // bytes of shared memory that a thread block may have
  std::int64_t l2_bytes;
  int architecture;  // compute capability that the kernels were compiled for, such as 90
  // Thread blocks of the largest cluster that can be resident: a power of two, and 1 below 90.
  int largest_cluster = kMaxCluster;
};

struct LossCall;    // loss_call.h
struct StatsCall;   // stats_call.h
struct SampleCall;  // sample_call.h

// Errors are codes of the CUDA runtime; 0 is success. Streams are cudaStream_t.
struct Table {
  const char* version;        // the package's
  std::int64_t call_sizes;    // calls.h
  const char* architectures;  // built for, such as "75 80 90"
  int (*device_count)(int* count);
  int (*device_name)(int device, char* name, int size);
  // The device that memory belongs to.
  int (*device_of)(const void* data, int* device);
  // Asynchronous on the stream, which belongs to the device.
  int (*run)(const RowsCall* call, int device, void* stream);
  int (*backward)(const BackwardCall* call, int device, void* stream);
  int (*loss)(const LossCall* call, int device, void* stream);
  int (*stats)(const StatsCall* call, int device, void* stream);
  int (*topk)(const TopkRowsCall* call, int device, void* stream);
  int (*sample)(const SampleCall* call, int device, void* stream);
  // What is submitted to `after` from here on waits for what has been submitted to `before`.
  int (*order)(int device, void* before, void* after);
  const char* (*error_text)(int error);
};

inline constexpr const char* kTableSymbol = "fastsoftmax_cuda_table_2";

}  // namespace fastsoftmax::cuda
