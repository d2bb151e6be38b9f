// The matrix product by BLAS, for linear.hpp. Link fastsoftmax::blas, which exists where CMake has
// found a BLAS with the C interface (cblas.h); the library itself needs none.
#pragma once

#include "fastsoftmax/linear.hpp"

namespace fastsoftmax {

// By sgemm and dgemm. Throws InvalidArgument where a size exceeds what this BLAS counts in.
Matmul blas_matmul() noexcept;

}  // namespace fastsoftmax
