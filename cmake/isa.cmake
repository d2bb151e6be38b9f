# The one table of instruction sets: name, architectures (values of CMAKE_SYSTEM_PROCESSOR, or
# "any"), compiler flags (GCC 12 warns of uninitialized values in its own AVX-512 headers). A row
# whose architecture or flags do not fit this build is left out, and dispatch.cpp sees FASTSOFTMAX_HAVE_<NAME> for each row that is in. The scalar row has no flags:
# it is the baseline that every CPU of the architecture runs, and always in.
set(FASTSOFTMAX_ISA_TABLE
    "scalar any"
    "avx2   x86_64,AMD64,amd64   -mavx2 -mfma -mf16c"
    "avx512 x86_64,AMD64,amd64   -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c -mprefer-vector-width=512 -Wno-uninitialized -Wno-maybe-uninitialized"
    "neon   aarch64,arm64,ARM64")

set(FASTSOFTMAX_ISAS all CACHE STRING
    "Instruction sets to build besides scalar: all, or a semicolon-separated list")

include(CheckCXXCompilerFlag)

# Compiles src/isa/<name>.cpp for every row that fits and adds the objects to `library`.
# Sets FASTSOFTMAX_ISAS_BUILT in the caller's scope: the names of those rows.
function(fastsoftmax_add_isas library)
  set(names "")
  foreach(row IN LISTS FASTSOFTMAX_ISA_TABLE)
    string(REGEX MATCH "^([^ ]+) +([^ ]+) *(.*)$" matched "${row}")
    set(isa ${CMAKE_MATCH_1})
    string(REPLACE "," ";" architectures "${CMAKE_MATCH_2}")
    separate_arguments(flags UNIX_COMMAND "${CMAKE_MATCH_3}")
    if(NOT architectures STREQUAL "any" AND NOT CMAKE_SYSTEM_PROCESSOR IN_LIST architectures)
      continue()
    endif()
    if(NOT FASTSOFTMAX_ISAS STREQUAL "all" AND NOT isa IN_LIST FASTSOFTMAX_ISAS
       AND NOT isa STREQUAL "scalar")
      continue()
    endif()
    string(TOUPPER ${isa} upper)
    if(flags)
      string(REPLACE ";" " " CMAKE_REQUIRED_FLAGS "${flags}")
      check_cxx_compiler_flag("" FASTSOFTMAX_COMPILER_HAS_${upper})
      if(NOT FASTSOFTMAX_COMPILER_HAS_${upper})
        message(WARNING "fastsoftmax: this compiler cannot build the ${isa} kernels")
        continue()
      endif()
    endif()

    set(objects ${library}_isa_${isa})
    add_library(${objects} OBJECT src/isa/${isa}.cpp src/isa/${isa}_layers.cpp)
    fastsoftmax_configure(${objects})
    target_include_directories(${objects} PRIVATE include src)
    # These flags change no value: errno and the floating-point flags are not part of the contract.
    target_compile_options(${objects} PRIVATE ${flags} -fno-math-errno -fno-trapping-math
                           -fno-exceptions)
    if(NOT FASTSOFTMAX_SANITIZE)
      # As fast as -O3 here, and a third quicker to compile.
      target_compile_options(
        ${objects} PRIVATE
        "$<$<NOT:$<CONFIG:Debug>>:-O2;-ftree-vectorize;-fvect-cost-model=dynamic>")
    endif()
    target_sources(${library} PRIVATE $<TARGET_OBJECTS:${objects}>)
    target_compile_definitions(${library} PRIVATE FASTSOFTMAX_HAVE_${upper}=1)
    list(APPEND names ${isa})
  endforeach()
  set(FASTSOFTMAX_ISAS_BUILT "${names}" PARENT_SCOPE)
endfunction()
