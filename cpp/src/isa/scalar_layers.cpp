#define FASTSOFTMAX_ISA scalar
#include "simd/vec_scalar.h"
// clang-format off
#include "isa/layers.h"
// clang-format on
