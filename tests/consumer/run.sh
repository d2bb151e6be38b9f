#!/usr/bin/env bash
# Builds and runs a project that uses the library, in a temporary directory:
#   run.sh installed BUILD_DIR   find_package after `cmake --install BUILD_DIR`
#   run.sh subdirectory          add_subdirectory of this checkout
#   run.sh wheel PYTHON          find_package from the package that PYTHON imports
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n 's/^#define FASTSOFTMAX_VERSION "\([0-9]*\.[0-9]*\)\..*"$/\1/p' \
  "$here/../../cpp/include/fastsoftmax/version.h")

build_and_run() {  # SOURCE [CMAKE ARGUMENT]...
  cmake -G Ninja -S "$1" -B "$work/build" "${@:2}"
  cmake --build "$work/build" --parallel 2
  "$work/build/consumer"
  if [ -x "$work/build/blas_consumer" ]; then "$work/build/blas_consumer"; fi
}

case "${1:-}" in
  installed)
    cmake --install "$2" --prefix "$work/prefix"
    build_and_run "$here/find_package" -DWANTED_VERSION="$version" \
      -DCMAKE_PREFIX_PATH="$work/prefix"
    ;;
  subdirectory)
    # Without optimisation: quick to build, and the numbers must not depend on it.
    build_and_run "$here/add_subdirectory" -DCMAKE_BUILD_TYPE=Debug
    ;;
  wheel)
    cd "$work" # a checkout in the current directory must not stand in for the installed package
    build_and_run "$here/find_package" -DWANTED_VERSION="$version" \
      -Dfastsoftmax_DIR="$("$2" -m fastsoftmax --cmake-dir)"
    # The plainest use: a compiler command with the directories that the package prints.
    include=$("$2" -m fastsoftmax --include-dir)
    "${CXX:-c++}" -std=c++20 -I"$include" "$here/main.cpp" "$include/../lib/libfastsoftmax.a" \
      -pthread -o "$work/plain"
    "$work/plain"
    ;;
  *)
    sed -n '2,5p' "$0" >&2
    exit 2
    ;;
esac
