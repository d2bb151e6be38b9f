// memcpy/<dtype>/<elements>: the yardstick. bench_softmax has these too, to be interleaved with the
// rest.
#include "problem.h"

int main(int argc, char** argv) {
  using namespace fastsoftmax::bench;
  return run_benchmarks(argc, argv, [](int max_log2) {
    for (const fastsoftmax::DType dtype : kTypes) register_memcpy(dtype, max_log2);
  });
}
