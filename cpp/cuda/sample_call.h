// A call of sample on a device: plain data that crosses the interface.
#pragma once

#include "cuda/interface.h"

namespace fastsoftmax::cuda {

// Where an array with an element for each row has them: rows are numbered in C order.
struct RowPlaces {
  struct Axis {
    std::int64_t size;
    std::int64_t stride;
  };
  char* data;  // null: there is no array
  int count;
  Axis axis[kMaxAxes];  // in C order
};

// One value for all rows, or one for each: of any floating or integer type.
struct RowOption {
  RowPlaces values;
  DType dtype;  // of values
  double real;  // without values
  std::uint64_t integer;
};

// sampling.hpp has their meaning and their ranges, which the host cannot check in arrays: a row
// with an option outside its range gets the index -1.
struct SampleRowOptions {
  RowOption temperature;
  RowOption top_k;
  RowOption top_p;
  RowOption min_p;
  RowOption typical_p;
  RowOption top_n_sigma;
  RowOption seed;
  RowOption position;
  RowOption row_ids;
  bool numbered;  // rows are, from 0: row_ids is not used
};

struct SampleCall {
  RowsCall rows;  // of y, op, temperature and empty_is_zero nothing is used
  SampleRowOptions options;
  bool may_filter;
  std::int64_t most_k;  // below the length; 0 where top_k is off
  RowPlaces indices;    // of int64
  RowPlaces logprobs;   // of the type of x, or null
};

}  // namespace fastsoftmax::cuda
