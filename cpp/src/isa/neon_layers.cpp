#define FASTSOFTMAX_ISA neon
#include "simd/vec_neon.h"
// clang-format off
#include "isa/layers.h"
// clang-format on
