#define FASTSOFTMAX_ISA avx512
#include "simd/vec_avx512.h"
// clang-format off
#include "isa/layers.h"
// clang-format on
