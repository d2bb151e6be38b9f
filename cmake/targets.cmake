# Settings shared by every target of this project; none of them reaches a consumer.

if(NOT CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
  message(FATAL_ERROR "fastsoftmax needs GCC 12 or Clang 15 (or newer), not "
                      "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
endif()

if(FASTSOFTMAX_SANITIZE)
  add_compile_options(-fsanitize=${FASTSOFTMAX_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer -O1 -g1)
  add_link_options(-fsanitize=${FASTSOFTMAX_SANITIZE})
  if(FASTSOFTMAX_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Checks as calls: written out in the kernels, they take the compiler more than ten minutes.
    add_compile_options(--param=asan-instrumentation-with-call-threshold=0)
  endif()
endif()

# -ffp-contract=off everywhere: a fused multiply-add that the compiler chooses changes bits.
function(fastsoftmax_configure target)
  target_compile_features(${target} PRIVATE cxx_std_20)
  target_compile_options(${target} PRIVATE -ffp-contract=off -Wall -Wextra -Wpedantic -Wshadow
                                           -Wconversion)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # GCC 12 sees overlaps in std::string's own operator+ (GCC bug 105651).
    target_compile_options(${target} PRIVATE -Wno-restrict)
  endif()
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    # A project that adds this one may have chosen nothing; gathering rows would take ten times as long.
    target_compile_options(${target} PRIVATE -O2)
  endif()
  if(FASTSOFTMAX_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  set_target_properties(
    ${target}
    PROPERTIES CXX_EXTENSIONS OFF
               CXX_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON
               POSITION_INDEPENDENT_CODE ON)
endfunction()
