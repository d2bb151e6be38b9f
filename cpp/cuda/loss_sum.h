// Sums over the rows of a call, in the order of add_to_chain(): of the weights of the targets, and
// of the losses. One thread block, of which kSumChains threads add.
#pragma once

#include "cuda/loss_access.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Numbers that come round by round, at most a thread's one each, as long as the chains have been
// fed in turn.
template <class Team>
struct SumInOrder {
  const Team* team;
  std::int64_t count = 0;  // of numbers so far
  double sum = 0.0;        // of this thread's chain
  double error = 0.0;

  FASTSOFTMAX_HD double* numbers() const { return reinterpret_cast<double*>(team->shared); }

  // Those that are there, in the order of threads.
  FASTSOFTMAX_HD void add(double number, bool there) {
    int before = 0;  // in the group: those of earlier threads, and all
    int all = there ? 1 : 0;
    const int s = team->thread() % kGroup;
    for (int mask = 1; mask < kGroup; mask *= 2) {
      const int other = team->exchange(all, mask);
      if ((s & mask) != 0) before += other;
      all += other;
    }
    int* const of_groups = reinterpret_cast<int*>(numbers() + team->threads());
    if (s == 0) of_groups[team->thread() / kGroup] = all;
    team->sync();
    int total = 0;
    for (int g = 0; g < team->threads() / kGroup; ++g) {
      if (g < team->thread() / kGroup) before += of_groups[g];
      total += of_groups[g];
    }
    if (there) numbers()[before] = number;
    team->sync();
    if (team->thread() < kSumChains) {
      const auto next = static_cast<int>(count % kSumChains);
      for (int i = (team->thread() - next + kSumChains) % kSumChains; i < total; i += kSumChains)
        add_to_chain(sum, error, numbers()[i]);
    }
    count += total;
    team->sync();
  }

  // For the first thread.
  FASTSOFTMAX_HD double joined() const {
    double* const errors = numbers() + kSumChains;
    if (team->thread() < kSumChains) {
      numbers()[team->thread()] = sum;
      errors[team->thread()] = error;
    }
    team->sync();
    return join_chains(numbers(), errors);
  }
};

// What the mean divides by: the weights of the targets that count. One that is no class counts as
// one of weight 1.
struct LossDivisor {
  static constexpr int max_threads = kSumThreads;
  static constexpr int min_blocks = 1;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const LossParameters& call) {
    SumInOrder<Team> sum{&team};
    const std::int64_t rows = all_rows(call);
    for (std::int64_t first = 0; first < rows; first += team.threads()) {
      const std::int64_t row = first + team.thread();
      const std::int64_t target = row < rows ? target_of(call, row) : kIgnored;
      const bool there = target != kIgnored;
      sum.add(there ? weight_of(call, target) : 0.0, there);
    }
    const double weights = sum.joined();
    // Probabilities have no target, and rows count alike.
    const bool alike = call.weight == nullptr || has_probabilities(call);
    if (team.thread() == 0) *call.divisor = alike ? static_cast<double>(sum.count) : weights;
  }
};

template <class T>
struct LossSum {
  static constexpr int max_threads = kSumThreads;
  static constexpr int min_blocks = 1;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const LossParameters& call) {
    SumInOrder<Team> sum{&team};
    const std::int64_t rows = all_rows(call);
    for (std::int64_t first = 0; first < rows; first += team.threads()) {
      const std::int64_t row = first + team.thread();
      sum.add(row < rows ? call.losses[row] : 0.0, row < rows);
    }
    double result = sum.joined();
    if (call.reduction == RowSum::mean) result /= *call.divisor;
    if (team.thread() == 0) put_number<T>(call.loss, 0, number_or_nan(result));
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
