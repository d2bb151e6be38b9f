// Compiles every kernel for the instruction set that FASTSOFTMAX_ISA names, and defines its table.
#include "kernels/backward.h"
#include "kernels/columns.h"
#include "kernels/gumbel.h"
#include "kernels/gumbel_softmax.h"
#include "kernels/loss_columns.h"
#include "kernels/stats.h"
#include "kernels/topk.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class A>
void ext_exp(const typename A::T* x, typename A::T* mantissa, typename A::T* exponent,
             std::size_t count) {
  using E = ExtExp<A>;
  const DefaultFloatEnvironment environment;
  constexpr std::size_t chunk = A::block;
  for (std::size_t done = 0; done < count; done += chunk) {
    const int size = static_cast<int>(count - done < chunk ? count - done : chunk);
    for_each_vector<A>(size, [&](int, int i, auto part) __attribute__((always_inline)) {
      const auto at = done + static_cast<std::size_t>(i);
      const auto pair = E::pair(E::clamp(load<A>(x + at, part, A::set1(0))));
      store<A>(mantissa + at, pair.m, part);
      store<A>(exponent + at, pair.n, part);
    });
  }
}

template <template <class> class Entries, class Kernels>
constexpr kernels::ForRows<Kernels> for_rows() {
  return {Entries<DirectRows<F32, float>>::table(), Entries<DirectRows<F64, double>>::table(),
          Entries<DirectRows<F32, f16>>::table(),   Entries<DirectRows<F32, bf16>>::table(),
          Entries<GatheredRows<F32>>::table(),      Entries<GatheredRows<F64>>::table()};
}

#define FASTSOFTMAX_STRING_(x) #x
#define FASTSOFTMAX_STRING(x) FASTSOFTMAX_STRING_(x)
#define FASTSOFTMAX_LAYERS_(isa) isa##_layers
#define FASTSOFTMAX_LAYERS(isa) FASTSOFTMAX_LAYERS_(isa)

constexpr kernels::KernelTable kTable = {
    FASTSOFTMAX_STRING(FASTSOFTMAX_ISA),
    RowEntries<DirectRows<F32, float>>::table(),
    RowEntries<DirectRows<F64, double>>::table(),
    RowEntries<DirectRows<F32, f16>>::table(),
    RowEntries<DirectRows<F32, bf16>>::table(),
    RowEntries<GatheredRows<F32>>::table(),
    RowEntries<GatheredRows<F64>>::table(),
    columns_entry<F32, float>,
    columns_entry<F64, double>,
    columns_entry<F32, f16>,
    columns_entry<F32, bf16>,
    columns_entry<F32, float>,
    columns_entry<F64, double>,
    sizeof(ColumnsWorkspace<F32>) > sizeof(ColumnsWorkspace<F64>) ? sizeof(ColumnsWorkspace<F32>)
                                                                  : sizeof(ColumnsWorkspace<F64>),
    ext_exp<F32>,
    ext_exp<F64>,
    for_rows<TopkEntries, TopkKernels>(),
    stats_entry<DirectRows<F32, float>>,
    stats_entry<DirectRows<F64, double>>,
    stats_entry<GatheredRows<F32>>,
    stats_entry<GatheredRows<F64>>,
    for_rows<SampleTable, SampleKernels>(),
    for_rows<GumbelSoftmaxEntries, GumbelSoftmaxKernels>(),
    for_rows<BackwardEntries, BackwardKernels>(),
    for_rows<LossEntries, LossKernels>(),
    LossColumnsEntries<DirectRows<F32, float>>::table(),
    LossColumnsEntries<DirectRows<F64, double>>::table(),
    LossColumnsEntries<DirectRows<F32, f16>>::table(),
    LossColumnsEntries<DirectRows<F32, bf16>>::table(),
    kernels::FASTSOFTMAX_LAYERS(FASTSOFTMAX_ISA),
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA

namespace kernels {

#define FASTSOFTMAX_GETTER_(isa) isa##_table
#define FASTSOFTMAX_GETTER(isa) FASTSOFTMAX_GETTER_(isa)

const KernelTable& FASTSOFTMAX_GETTER(FASTSOFTMAX_ISA)() noexcept {
  return FASTSOFTMAX_ISA::kTable;
}

}  // namespace kernels
}  // namespace fastsoftmax
