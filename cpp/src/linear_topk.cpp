// The k largest scores of each row (linear_selection.h), normalized.
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "dispatch.h"
#include "linear_checks.h"
#include "linear_selection.h"
#include "linear_sweep.h"
#include "loss_options.h"
#include "rows_job.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

using kernels::LossGradient;
using kernels::RowLoss;

// Scores to probabilities, or their logarithms, in place.
template <class T>
void normalize(const RowLoss& row, bool log, std::int64_t k, T* values) {
  if (log) {
    for (std::int64_t i = 0; i < k; ++i)
      values[i] = static_cast<T>(log_prob_of(row, static_cast<double>(values[i])));
    return;
  }
  // The probabilities are the gradient of logsumexp.
  LossGradient how{LossGradient::regular, row.max, row.log_sum, 1.0, 0.0, 0.0, 1.0};
  if (row.log_sum != row.log_sum) how.kind = LossGradient::nan;
  const std::int64_t none = kNoTarget;
  kernels::LossJob job{};
  job.rows.x = values;
  job.rows.y = values;
  job.rows.rows = 1;
  job.rows.length = k;
  job.targets = &none;
  kernels_for(kernels_in_use().loss, dtype_of_arithmetic<T>, true).gradient(job, &how);
}

template <class T>
void run(const LinearLayer& layer, std::int64_t k, const View& values, const View& indices,
         const View& logsumexp, bool log, const LinearOptions& options) {
  LinearSweep<T> sweep(layer, options.temperature, options.max_threads);
  LinearScores<T>& scores = sweep.scores();
  if (k < 0) throw InvalidArgument("k must not be negative, got " + std::to_string(k));
  if (k > scores.classes())
    throw InvalidArgument("k is " + std::to_string(k) + ", but there are only " +
                          std::to_string(scores.classes()) + " classes");
  const std::int64_t count = scores.rows();
  const std::array shape = {count, k};
  const std::array sums_shape = {count};
  check_linear_output(values, "values", dtype_of_arithmetic<T>, shape, layer, {});
  const ConstView taken = as_input(values);
  check_linear_output(indices, "indices", DType::i64, shape, layer, {&taken});
  const ConstView also = as_input(indices);
  check_linear_output(logsumexp, "logsumexp", dtype_of_arithmetic<T>, sums_shape, layer,
                      {&taken, &also});
  std::optional<Selection<T>> selection;
  if (k > 0)
    selection.emplace(scores, k, static_cast<T*>(values.data),
                      static_cast<std::int64_t*>(indices.data));
  sweep.run(nullptr, [&](const Strip<T>& strip, int worker) {
    if (selection) selection->take(strip, worker);
  });
  std::vector<double> sums;
  for (std::int64_t r = 0; r < count; ++r) {
    sums.push_back(logsumexp_of(sweep.loss(r)));
    if (k > 0) normalize(sweep.loss(r), log, k, static_cast<T*>(values.data) + r * k);
  }
  put_rows(logsumexp, 0, sums);
}

}  // namespace

void linear_topk(const LinearLayer& layer, std::int64_t k, const View& values, const View& indices,
                 const View& logsumexp, bool log, const LinearOptions& options) {
  check_layer(layer);
  with_arithmetic(layer,
                  [&]<class T>() { run<T>(layer, k, values, indices, logsumexp, log, options); });
}

}  // namespace fastsoftmax
