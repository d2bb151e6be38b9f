// ext_exp/<dtype>/<isa>/<elements>: the extended exponential as the kernels form it. It writes a
// mantissa and an exponent for each element, so that rows beyond L1 measure the stores; 1024
// elements measure the arithmetic.
// std_exp/<dtype>/<elements>: std::exp of the C++ library, one element at a time.
#include <cmath>
#include <span>

#include "problem.h"

namespace fastsoftmax::bench {
namespace {

template <class T>
constexpr DType dtype_of = sizeof(T) == sizeof(float) ? DType::f32 : DType::f64;

void ext_exp(const kernels::KernelTable& table, const float* x, float* m, float* n,
             std::size_t count) {
  table.ext_exp_f32(x, m, n, count);
}
void ext_exp(const kernels::KernelTable& table, const double* x, double* m, double* n,
             std::size_t count) {
  table.ext_exp_f64(x, m, n, count);
}

template <class T>
void run_ext_exp(benchmark::State& state, Isa isa, std::int64_t length) {
  const kernels::KernelTable& table = kernels_of(isa);
  const T* const x = reinterpret_cast<const T*>(logits(dtype_of<T>, length));
  constexpr std::int64_t size = sizeof(T);
  T* const mantissa = reinterpret_cast<T*>(results(2 * length * size));
  T* const exponent = mantissa + length;
  measure(state, length, 3 * length * size,
          [&] { ext_exp(table, x, mantissa, exponent, static_cast<std::size_t>(length)); });
}

template <class T>
void run_std_exp(benchmark::State& state, std::int64_t length) {
  const std::span x(reinterpret_cast<const T*>(logits(dtype_of<T>, length)),
                    static_cast<std::size_t>(length));
  constexpr std::int64_t size = sizeof(T);
  T* const y = reinterpret_cast<T*>(results(length * size));
  measure(state, length, 2 * length * size,
          [&] { std::transform(x.begin(), x.end(), y, [](T v) { return std::exp(v); }); });
}

template <class T>
void register_type(int max_log2) {
  const char* const type = short_name(dtype_of<T>);
  for (const std::int64_t length : lengths(8, max_log2)) {
    for (const Isa isa : isas_supported()) {
      benchmark::RegisterBenchmark(
          path({"ext_exp", type, name(isa)}, length).c_str(),
          [=](benchmark::State& state) { run_ext_exp<T>(state, isa, length); });
    }
    benchmark::RegisterBenchmark(path({"std_exp", type}, length).c_str(),
                                 [=](benchmark::State& state) { run_std_exp<T>(state, length); });
  }
}

}  // namespace
}  // namespace fastsoftmax::bench

int main(int argc, char** argv) {
  using namespace fastsoftmax::bench;
  return run_benchmarks(argc, argv, [](int max_log2) {
    register_type<float>(max_log2);
    register_type<double>(max_log2);
  });
}
