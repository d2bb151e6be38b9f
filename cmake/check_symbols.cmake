# Fails where the object files of one instruction set define anything that the linker could pick
# for code that runs on other CPUs, or call anything outside a short list.
#   cmake -DNM=<nm> -P check_symbols.cmake -- <object>...
# Allowed: one strong function in each object, the getter of a table; local symbols; the calls below.
cmake_minimum_required(VERSION 3.21)

set(allowed_calls
    "memcpy" "memmove" "memset" "memcmp" "fma" "fmaf" "__stack_chk_fail" "__stack_chk_guard"
    "_GLOBAL_OFFSET_TABLE_" "abort")

set(objects "")
set(seen_separator FALSE)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${last})
  if(seen_separator)
    list(APPEND objects "${CMAKE_ARGV${i}}")
  elseif(CMAKE_ARGV${i} STREQUAL "--")
    set(seen_separator TRUE)
  endif()
endforeach()
if(NOT objects)
  message(FATAL_ERROR "no object files given")
endif()

set(problems "")
set(getters 0)
foreach(object IN LISTS objects)
  execute_process(COMMAND ${NM} -C ${object} OUTPUT_VARIABLE text
                  COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE ";" "," text "${text}")
  string(REPLACE "\n" ";" lines "${text}")
  foreach(line IN LISTS lines)
    # "[<value>] <type letter> <name>"; a demangled name may hold blanks.
    if(NOT line MATCHES "^[0-9a-fA-F]* *([A-Za-z?-]) (.+)$")
      continue()
    endif()
    set(type "${CMAKE_MATCH_1}")
    set(symbol "${CMAKE_MATCH_2}")
    if(type STREQUAL "U")
      if(NOT symbol IN_LIST allowed_calls AND NOT symbol MATCHES "^fastsoftmax::kernels::[a-z0-9]+_layers\\(\\)$")
        list(APPEND problems "calls ${symbol}")
      endif()
    elseif(type STREQUAL "T")
      math(EXPR getters "${getters} + 1")
      message(STATUS "defines ${symbol}")
    elseif(NOT type MATCHES "^[abdgnprst]$")
      list(APPEND problems "defines ${symbol} (${type})")
    endif()
  endforeach()
endforeach()

list(LENGTH objects count)
if(NOT getters EQUAL count)
  list(APPEND problems "${getters} strong functions instead of one getter in each object")
endif()
if(problems)
  list(JOIN problems "\n  " text)
  message(FATAL_ERROR "${objects}:\n  ${text}")
endif()
