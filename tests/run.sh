#!/usr/bin/env bash
# Installs what the tests need and runs all of them:
#   bash tests/run.sh            everything, about an hour on two cores
#   bash tests/run.sh --quick    without sanitizers, the aarch64 build and clang-tidy
# Uses the active virtual environment, or makes .venv. Stops at the first failure. What this machine
# cannot install is skipped, with the reason in the summary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

quick=false
case "${1:-}" in
  "") ;;
  --quick) quick=true ;;
  *) sed -n '2,6p' "$0" >&2; exit 2 ;;
esac

# --- sections and summary ---------------------------------------------------------------------

summary=()
current=""
started=0

print_summary() {
  local status=$?
  printf '\n==== summary\n'
  if ((${#summary[@]} > 0)); then printf '%s\n' "${summary[@]}"; fi
  if [ -n "$current" ]; then printf 'FAILED   %s (%d s)\n' "$current" $((SECONDS - started)); fi
  if ((status == 0)); then
    printf 'all passed in %d s\n' "$SECONDS"
  else
    printf 'stopped with status %d after %d s\n' "$status" "$SECONDS"
  fi
}
trap print_summary EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

run() {  # NAME COMMAND...
  current=$1
  started=$SECONDS
  printf '\n==== %s\n' "$current"
  "${@:2}"
  summary+=("$(printf 'passed   %s (%d s)' "$current" $((SECONDS - started)))")
  current=""
}

skip() {  # NAME REASON
  printf '\n==== %s: skipped, %s\n' "$1" "$2"
  summary+=("skipped  $1: $2")
}

have() { command -v "$1" >/dev/null 2>&1; }
have_header() { [ -e "/usr/include/$1" ] || [ -e "/usr/local/include/$1" ]; }

# --- what the tests need ----------------------------------------------------------------------

missing_packages() {
  have g++ || have c++ || echo g++
  have cmake || echo cmake
  have ninja || echo ninja-build
  have make || echo make
  have ccache || echo ccache
  have_header doctest/doctest.h || echo doctest-dev
  have_header benchmark/benchmark.h || echo libbenchmark-dev
  have_header cblas.h || [ -e "/usr/include/$(uname -m)-linux-gnu/cblas.h" ] || echo libopenblas-dev
  python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
  python3 -c 'import pathlib, sysconfig as s
assert pathlib.Path(s.get_path("include"), "Python.h").exists()' 2>/dev/null || echo python3-dev
  [ "$(uname -m)" != x86_64 ] || have qemu-x86_64-static || echo qemu-user-static
  if ! $quick && [ "$(uname -m)" = x86_64 ]; then
    have qemu-aarch64-static || echo qemu-user-static
    have aarch64-linux-gnu-g++ || echo g++-aarch64-linux-gnu libc6-dev-arm64-cross
  fi
}

install_system_packages() {
  local packages
  read -r -a packages <<<"$(missing_packages | sort -u | tr '\n' ' ')"
  if ((${#packages[@]} == 0)); then
    echo "nothing is missing"
    return
  fi
  echo "missing: ${packages[*]}"
  local root=()
  if [ "$(id -u)" != 0 ]; then root=(sudo -n); fi
  if ! have apt-get || ! "${root[@]}" true 2>/dev/null; then
    echo "no apt-get, or no right to use it: going on without them"
    return
  fi
  export DEBIAN_FRONTEND=noninteractive
  "${root[@]}" apt-get update -qq || echo "the package lists could not be refreshed"
  # One by one where all together fails, so that one missing package does not cost the others.
  local install=("${root[@]}" apt-get install -y -qq --no-install-recommends)
  "${install[@]}" "${packages[@]}" >/dev/null ||
    for package in "${packages[@]}"; do
      "${install[@]}" "$package" >/dev/null || echo "could not install $package"
    done
}

enter_environment() {
  if [ -z "${VIRTUAL_ENV:-}" ]; then
    if [ ! -x .venv/bin/python ]; then python3 -m venv .venv; fi
    export VIRTUAL_ENV="$PWD/.venv"
  fi
  export PATH="$VIRTUAL_ENV/bin:$PATH"
  unset PYTHONPATH PYTHONHOME
  python --version
}

install_package() {
  # From PyPI where the system has none.
  have cmake || python -m pip install --quiet cmake
  have ninja || python -m pip install --quiet ninja
  export CMAKE_GENERATOR=Ninja # also for the README's commands, which the tests run
  cmake --version | head -n 1
  # The package and the C++ tests compile the same kernels with the same flags: once with ccache.
  if have ccache; then
    export CMAKE_CXX_COMPILER_LAUNCHER=ccache CCACHE_DIR="$PWD/build/ccache"
  fi
  python -m pip install --quiet ".[test]" --config-settings=cmake.define.FASTSOFTMAX_WERROR=ON
}

# Other libraries whose arrays fastsoftmax accepts. Without them their tests skip.
install_peers() {
  local requirement
  for requirement in "torch==2.13.0" "jax[cpu]" onnxruntime; do
    python -m pip install --quiet "$requirement" ||
      echo "could not install $requirement: its tests will skip"
  done
}

# --- steps ------------------------------------------------------------------------------------

check_cpp_format() {
  find cpp bindings tests bench examples \( -name '*.h' -o -name '*.hpp' -o -name '*.cpp' -o -name '*.cu*' \) \
    -print0 | xargs -0 clang-format --dry-run -Werror
}

check_python_style() {
  ruff check .
  ruff format --check .
  mypy
}

check_stub() { python -m mypy.stubtest fastsoftmax._core; }

# The scalar kernels stand for all instruction sets: the same headers over another vector type.
check_clang_tidy() {
  cmake -G Ninja -S . -B build/tidy -DCMAKE_BUILD_TYPE=Debug -DCMAKE_EXPORT_COMPILE_COMMANDS=ON \
    -DFASTSOFTMAX_BUILD_TESTS=OFF -DFASTSOFTMAX_BUILD_PYTHON=ON \
    -Dpybind11_DIR="$(python -m pybind11 --cmakedir)" \
    -DPython_EXECUTABLE="$(command -v python)"
  { find cpp/cuda -name '*.cpp' ! -name '*plan.cpp' -print0
    find cpp/src/isa/scalar.cpp cpp/src/*.cpp bindings/*.cpp -print0; } |
    xargs -0 -n 1 -P 2 clang-tidy -p build/tidy --quiet
}

# Which tests a preset leaves out it says itself: another -LE here would have to match as well.
test_preset() {  # PRESET
  cmake --preset "$1"
  cmake --build --preset "$1" --parallel 2
  ctest --preset "$1" --parallel 2
}

# ThreadSanitizer needs the address space layout that it knows.
test_threads() {
  local fixed_layout=(setarch "$(uname -m)" -R)
  "${fixed_layout[@]}" true 2>/dev/null || fixed_layout=()
  cmake --preset tsan
  cmake --build --preset tsan --parallel 2
  "${fixed_layout[@]}" ctest --preset tsan --parallel 2
}

# The scalar kernels run natively already; here only their checksums.
test_preset_without_scalar() {  # PRESET
  test_preset "$1"
  ctest --test-dir "build/$1" --output-on-failure -R 'checksums\.scalar'
}

# The CUDA library for all architectures that it is built for by default: it compiles without
# warnings, no kernel spills registers, and without a driver it says so.
find_nvcc() {
  for nvcc in "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc; do
    if [ -x "$nvcc" ]; then return; fi
  done
  python -m pip install --quiet "nvidia-cuda-nvcc==13.0.*" "nvidia-cuda-runtime==13.0.*" \
    "nvidia-nvvm==13.0.*" "nvidia-cuda-crt==13.0.*" || return 1
  nvcc=$(python -c 'import nvidia.cu13 as cuda; print(list(cuda.__path__)[0])')/bin/nvcc
  export LIBRARY_PATH="${nvcc%/bin/nvcc}/lib"
}
test_cuda() (
  cmake -S . -B build/cuda -DCMAKE_BUILD_TYPE=Release -DCMAKE_CUDA_COMPILER="$nvcc" \
    -DCMAKE_CUDA_FLAGS=-Xptxas=-v -DFASTSOFTMAX_CUDA=ON -DFASTSOFTMAX_WERROR=ON \
    -DFASTSOFTMAX_BUILD_TESTS=OFF
  cmake --build build/cuda --parallel 2 --target fastsoftmax_cuda >build/cuda/log 2>&1 ||
    { cat build/cuda/log && return 1; }
  python tests/gpu/check_kernels.py build/cuda/log
  export FASTSOFTMAX_CUDA_LIBRARY="$PWD/build/cuda/cpp/libfastsoftmax_cuda.so"
  python -m fastsoftmax info
  python -m pytest -q tests/gpu | tail -n 1
)

# --- run --------------------------------------------------------------------------------------

run "system packages" install_system_packages
run "virtual environment" enter_environment
run "package and Python test dependencies" install_package
run "peer libraries" install_peers
run "clang-format" check_cpp_format
run "ruff and mypy" check_python_style
run "stub of the extension module" check_stub
# A shell in the background ignores SIGINT and hands that on; a test interrupts a process with it.
run "pytest" env --default-signal=INT python -m pytest -q

if have_header doctest/doctest.h; then cpp_tests=true; else cpp_tests=false; fi
no_doctest="doctest is not installed"
if have_header benchmark/benchmark.h; then native=dev; else native=release; fi
if $cpp_tests; then
  run "C++ tests, $native build" test_preset $native
  run "consumer: installed" bash tests/consumer/run.sh installed build/$native
else
  skip "C++ tests" "$no_doctest"
fi
run "consumer: add_subdirectory" bash tests/consumer/run.sh subdirectory
run "consumer: wheel" bash tests/consumer/run.sh wheel "$(command -v python)"

if ! [ "$(uname -m)" = x86_64 ]; then
  skip "CUDA" "only tested on x86-64"
elif find_nvcc; then
  run "CUDA library" test_cuda
else
  skip "CUDA" "no nvcc, and none could be installed"
fi

if $quick; then
  skip "sanitizers, aarch64, clang-tidy" "--quick"
  exit 0
fi
run "clang-tidy" check_clang_tidy
if $cpp_tests; then
  run "C++ tests, address and undefined sanitizers" test_preset_without_scalar asan-ubsan
  run "C++ tests, thread sanitizer" test_threads
  if have aarch64-linux-gnu-g++ && { have qemu-aarch64-static || have qemu-aarch64; }; then
    run "C++ tests, aarch64 under QEMU" test_preset_without_scalar aarch64
  else
    skip "C++ tests, aarch64" "no cross compiler or no qemu-aarch64"
  fi
else
  skip "C++ tests, sanitizers and aarch64" "$no_doctest"
fi
