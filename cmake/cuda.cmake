# libfastsoftmax_cuda: found at run time by the core, which neither links nor includes it.
set(FASTSOFTMAX_CUDA_ARCHITECTURES "75;80;90;100;120" CACHE STRING
    "Compute capabilities to build CUDA kernels for, without the dot, separated by semicolons")

if(NOT FASTSOFTMAX_CUDA_ARCHITECTURES MATCHES "^[0-9]+[af]?(;[0-9]+[af]?)*$")
  message(FATAL_ERROR "FASTSOFTMAX_CUDA_ARCHITECTURES must be numbers such as \"80;90\", not "
                      "\"${FASTSOFTMAX_CUDA_ARCHITECTURES}\"")
endif()

# Code for each of them, and PTX of the last for those to come.
set(CMAKE_CUDA_ARCHITECTURES "")
foreach(architecture IN LISTS FASTSOFTMAX_CUDA_ARCHITECTURES)
  list(APPEND CMAKE_CUDA_ARCHITECTURES ${architecture}-real)
endforeach()
list(GET FASTSOFTMAX_CUDA_ARCHITECTURES -1 newest)
list(APPEND CMAKE_CUDA_ARCHITECTURES ${newest}-virtual)
enable_language(CUDA)

add_library(
  fastsoftmax_cuda MODULE
  cuda/backward_bf16.cu
  cuda/backward_f16.cu
  cuda/backward_f32.cu
  cuda/backward_f64.cu
  cuda/backward_plan.cpp
  cuda/device.cu
  cuda/kernels_bf16.cu
  cuda/kernels_f16.cu
  cuda/kernels_f32.cu
  cuda/kernels_f64.cu
  cuda/library.cu
  cuda/loss_bf16.cu
  cuda/loss_f16.cu
  cuda/loss_f32.cu
  cuda/loss_f64.cu
  cuda/loss_library.cu
  cuda/crew_plan.cpp
  cuda/plan.cpp
  cuda/sample_f32.cu
  cuda/sample_f64.cu
  cuda/sample_plan.cpp
  cuda/stats_library.cu
  cuda/topk.cu
  cuda/topk_bf16.cu
  cuda/topk_f16.cu
  cuda/topk_f32.cu
  cuda/topk_f64.cu
  cuda/topk_integers.cu
  cuda/topk_plan.cpp)
target_compile_features(fastsoftmax_cuda PRIVATE cxx_std_20)
target_include_directories(fastsoftmax_cuda PRIVATE include src .)
list(JOIN FASTSOFTMAX_CUDA_ARCHITECTURES " " architectures)
target_compile_definitions(fastsoftmax_cuda
                           PRIVATE "FASTSOFTMAX_CUDA_ARCHITECTURES=\"${architectures}\"")
# Bits: no contraction (-fmad=false), and division, square roots and subnormals as IEEE 754 has
# them, which is nvcc's default and said here all the same. 1675: pragmas for other compilers.
target_compile_options(
  fastsoftmax_cuda
  PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off;-Wall;-Wextra;-Wpedantic;-Wshadow;-Wconversion>
    "$<$<COMPILE_LANGUAGE:CUDA>:-fmad=false;-prec-div=true;-prec-sqrt=true;-ftz=false;-diag-suppress=1675;-Xcompiler=-ffp-contract=off,-Wall,-Wextra>"
)
if(FASTSOFTMAX_WERROR)
  target_compile_options(
    fastsoftmax_cuda PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror>
                             $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
endif()
set_target_properties(
  fastsoftmax_cuda
  PROPERTIES PREFIX lib
             CUDA_RUNTIME_LIBRARY Static
             CXX_EXTENSIONS OFF
             CUDA_EXTENSIONS OFF
             CXX_VISIBILITY_PRESET hidden
             CUDA_VISIBILITY_PRESET hidden
             VISIBILITY_INLINES_HIDDEN ON
             POSITION_INDEPENDENT_CODE ON)
if(DEFINED SKBUILD)
  install(TARGETS fastsoftmax_cuda DESTINATION .)
else()
  install(TARGETS fastsoftmax_cuda DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
