# fastsoftmax::blas, where CMake finds a BLAS with the C interface.
find_package(BLAS QUIET)
find_path(FASTSOFTMAX_CBLAS_DIR cblas.h PATH_SUFFIXES openblas)
mark_as_advanced(FASTSOFTMAX_CBLAS_DIR)
if(BLAS_FOUND AND FASTSOFTMAX_CBLAS_DIR)
  include(CheckCXXSourceCompiles)
  set(CMAKE_REQUIRED_INCLUDES ${FASTSOFTMAX_CBLAS_DIR})
  set(CMAKE_REQUIRED_LIBRARIES BLAS::BLAS)
  check_cxx_source_compiles(
    "#include <cblas.h>
     int main() { return cblas_sdot(0, nullptr, 1, nullptr, 1) != 0; }"
    FASTSOFTMAX_BLAS_HAS_CBLAS)
  unset(CMAKE_REQUIRED_INCLUDES)
  unset(CMAKE_REQUIRED_LIBRARIES)
endif()
if(NOT FASTSOFTMAX_BLAS_HAS_CBLAS)
  message(STATUS "no BLAS with cblas.h: fastsoftmax::blas is left out")
  return()
endif()

add_library(fastsoftmax_blas STATIC src/blas.cpp)
add_library(fastsoftmax::blas ALIAS fastsoftmax_blas)
set_target_properties(fastsoftmax_blas PROPERTIES EXPORT_NAME blas)
fastsoftmax_configure(fastsoftmax_blas)
target_include_directories(fastsoftmax_blas SYSTEM PRIVATE ${FASTSOFTMAX_CBLAS_DIR})
target_link_libraries(fastsoftmax_blas PUBLIC fastsoftmax PRIVATE BLAS::BLAS)

set(blas_package ${CMAKE_INSTALL_LIBDIR}/cmake/fastsoftmax)
install(TARGETS fastsoftmax_blas EXPORT fastsoftmaxBlasTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT fastsoftmaxBlasTargets NAMESPACE fastsoftmax:: DESTINATION ${blas_package})
