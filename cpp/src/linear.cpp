#include "fastsoftmax/linear.hpp"

#include <array>
#include <vector>

#include "linear_checks.h"
#include "linear_sweep.h"

namespace fastsoftmax {

void linear_logsumexp(const LinearLayer& layer, const View& out, const LinearOptions& options) {
  check_layer(layer);
  with_arithmetic(layer, [&]<class T>() {
    LinearSweep<T> sweep(layer, options.temperature, options.max_threads);
    const std::array shape = {sweep.scores().rows()};
    check_linear_output(out, "out", dtype_of_arithmetic<T>, shape, layer, {});
    sweep.run();
    std::vector<double> sums;
    sums.reserve(static_cast<std::size_t>(shape[0]));
    for (std::int64_t r = 0; r < shape[0]; ++r) sums.push_back(logsumexp_of(sweep.loss(r)));
    put_rows(out, 0, sums);
  });
}

void linear_log_prob(const LinearLayer& layer, const ConstView& ids, const View& out,
                     const LinearOptions& options) {
  check_layer(layer);
  const auto wanted = read_ids(ids, layer.x.shape[0], layer.w.shape[0]);
  with_arithmetic(layer, [&]<class T>() {
    LinearSweep<T> sweep(layer, options.temperature, options.max_threads);
    check_linear_output(out, "out", dtype_of_arithmetic<T>, ids.shape, layer, {&ids});
    Gathered<T> gathered(wanted, ids.shape.size() == 2 ? ids.shape[1] : 1);
    sweep.run(&gathered);
    std::vector<double> logs;
    logs.reserve(wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i)
      logs.push_back(sweep.log_prob(gathered, static_cast<std::int64_t>(i)));
    put_rows(out, 0, logs);
  });
}

}  // namespace fastsoftmax
