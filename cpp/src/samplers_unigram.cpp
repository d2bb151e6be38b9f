#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "linear_matrix.h"
#include "samplers_draw.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

// Of logs - offset, with the rounding error of each step.
double sum_of_exp(const std::vector<double>& logs, double offset) {
  double sum = 0.0;
  double error = 0.0;
  for (const double log : logs) {
    const double term = portable::exp(log - offset);
    const double next = sum + term;
    error += sum >= term ? (sum - next) + term : (term - next) + sum;
    sum = next;
  }
  return sum + error;
}

std::vector<double> log_probs_of(std::span<const std::int64_t> counts, double power,
                                 std::span<const std::int64_t> reserved) {
  if (!(power >= 0.0 && power <= 8.0))
    throw InvalidArgument("power must be from 0 to 8, got " + number_text(power));
  const baseline::DefaultFloatEnvironment environment;
  std::vector<double> logs(counts.size());
  double largest = kNever;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] < 0)
      throw InvalidArgument("counts must not be negative, but counts[" + std::to_string(i) +
                            "] is " + std::to_string(counts[i]));
    logs[i] = counts[i] == 0 ? kNever : power * portable::log(static_cast<double>(counts[i]));
  }
  for (const std::int64_t id : reserved) {
    if (id < 0 || id >= std::ssize(counts))
      throw InvalidIndex("reserved id " + std::to_string(id) + " is out of range for " +
                         std::to_string(counts.size()) + " classes");
    logs[static_cast<std::size_t>(id)] = kNever;
  }
  for (const double log : logs) largest = std::max(largest, log);
  if (!counts.empty() && largest == kNever)
    throw InvalidArgument("no class has a positive count and is not reserved");
  const double normalizer = portable::log(sum_of_exp(logs, largest));
  for (double& log : logs) log = (log - largest) - normalizer;
  return logs;
}

}  // namespace

UnigramSampler::UnigramSampler(std::span<const std::int64_t> counts, double power,
                               std::span<const std::int64_t> reserved)
    : UnigramSampler(log_probs_of(counts, power, reserved)) {}

UnigramSampler UnigramSampler::from_log_probs(std::vector<double> log_probs) {
  // Small enough that not all classes of positive probability have less than 1 / V.
  constexpr double tolerance = 1e-10;
  const baseline::DefaultFloatEnvironment environment;
  const bool are_logs = std::ranges::all_of(log_probs, [](double log) { return log <= 0.0; });
  if (!are_logs || !(std::fabs(sum_of_exp(log_probs, 0.0) - 1.0) <= tolerance))
    throw InvalidArgument("log_probs are not logarithms of probabilities that add up to 1");
  return UnigramSampler(std::move(log_probs));
}

UnigramSampler::UnigramSampler(std::vector<double> log_probs)
    : Sampler(std::ssize(log_probs),
              std::ssize(log_probs) - std::count(log_probs.begin(), log_probs.end(), kNever)),
      columns_(static_cast<Column*>(allocate_aligned(log_probs.size() * sizeof(Column)))) {
  const baseline::DefaultFloatEnvironment environment;
  const double size = static_cast<double>(classes());
  for (std::int64_t i = 0; i < classes(); ++i) {
    const double log_prob = log_probs[static_cast<std::size_t>(i)];
    columns_.get()[i] = {size * portable::exp(log_prob), log_prob, log_prob, i};
  }
  fill_up();
}

// Columns of probability 1/V each: what a class has less than that is filled up by a class that has
// more. Both kinds are walked in order; a class that falls below 1/V in giving is filled up next,
// if its turn has passed. Classes of probability 0 come first, so that what rounding leaves
// unfilled at the end are others; the last giver is theirs in any case.
void UnigramSampler::fill_up() {
  Column* const columns = columns_.get();
  const std::int64_t size = classes();
  std::int64_t giver = -1;
  std::int64_t last_giver = -1;
  const auto next_giver = [&] {
    last_giver = giver;
    do {
      ++giver;
    } while (giver < size && columns[giver].keep < 1.0);
  };
  // Whether the giver stays one.
  const auto fill = [&](Column& column) {
    Column& from = columns[giver];
    column.alias = giver;
    column.alias_log_prob = from.log_prob;
    from.keep -= 1.0 - column.keep;
    if (from.keep >= 1.0) return true;
    next_giver();
    return false;
  };
  next_giver();
  for (std::int64_t i = 0; i < size; ++i) {
    if (columns[i].log_prob != kNever) continue;
    if (giver < size) {
      fill(columns[i]);
      continue;
    }
    columns[i].alias = last_giver;
    columns[i].alias_log_prob = columns[last_giver].log_prob;
  }
  for (std::int64_t i = 0; i < size; ++i) {
    if (columns[i].log_prob == kNever) continue;
    for (std::int64_t at = i; giver < size && columns[at].keep < 1.0;) {
      const std::int64_t next = giver;
      if (fill(columns[at]) || next > i) break;
      at = next;
    }
  }
}

// A table that is not in cache takes longer to read than numbers to draw: several reads at a time.
void UnigramSampler::draw(const DrawOptions& options, std::int64_t first,
                          std::span<std::int64_t> ids, std::span<double> log_probs) const {
  constexpr std::size_t together = 64;
  const Column* const columns = columns_.get();
  const DrawStream random(options, Purpose::choice);
  std::array<double, together> heights;
  for (std::size_t start = 0; start < ids.size(); start += together) {
    const auto part = ids.subspan(start, std::min(together, ids.size() - start));
    const auto size = static_cast<std::uint64_t>(classes());
    random.for_each(first + static_cast<std::int64_t>(start), std::ssize(part),
                    [&](std::int64_t i, std::uint64_t bits) {
                      const auto at = static_cast<std::size_t>(i);
                      part[at] = below(bits, classes());
                      heights[at] = unit(bits * size);
                      __builtin_prefetch(columns + part[at]);
                    });
    for (std::size_t i = 0; i < part.size(); ++i) {
      const Column& column = columns[part[i]];
      const bool keep = heights[i] < column.keep;
      log_probs[start + i] = keep ? column.log_prob : column.alias_log_prob;
      part[i] = keep ? part[i] : column.alias;
    }
  }
}

double UnigramSampler::log_prob_of(std::int64_t id) const { return columns_.get()[id].log_prob; }

}  // namespace fastsoftmax
