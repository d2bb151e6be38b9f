#define FASTSOFTMAX_ISA avx2
#include "simd/vec_avx2.h"
// clang-format off
#include "isa/layers.h"
// clang-format on
