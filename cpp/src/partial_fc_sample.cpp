#include <algorithm>
#include <cmath>
#include <iterator>

#include "fastsoftmax/partial_fc.hpp"
#include "partial_fc_targets.h"
#include "samplers_draw.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

// Inserts `count` classes, uniform among those that are not there.
void draw(const PartialFCSampleOptions& options, std::int64_t count, std::int64_t classes,
          DistinctClasses& to) {
  DrawOptions draws;
  draws.seed = options.seed;
  draws.position = options.position;
  const DrawStream random(draws, Purpose::negatives);
  std::int64_t drawn = 0;
  while (count > 0) {
    std::int64_t found = 0;
    random.for_each(drawn, count, [&](std::int64_t, std::uint64_t bits) {
      found += to.insert(below(bits, classes)) ? 1 : 0;
    });
    drawn += count;
    count -= found;
  }
}

}  // namespace

PartialFC partial_fc_sample(const ConstView& targets, std::int64_t classes, double rate,
                            const PartialFCSampleOptions& options) {
  const baseline::DefaultFloatEnvironment environment;
  check_class_count(classes);
  if (!(rate > 0.0 && rate <= 1.0))
    throw InvalidArgument("rate must be positive and at most 1, got " + number_text(rate));
  check_position(options.position);
  const std::vector<std::int64_t> of_rows =
      targets_here(targets, classes, options.vocab_start, options.vocab_size, options.ignore_index);
  std::vector<std::int64_t> positives;
  std::ranges::copy_if(of_rows, std::back_inserter(positives),
                       [](std::int64_t target) { return target >= 0; });
  std::ranges::sort(positives);
  positives.erase(std::unique(positives.begin(), positives.end()), positives.end());

  const std::int64_t others = classes - std::ssize(positives);
  const std::int64_t size = std::llround(rate * static_cast<double>(classes));
  const std::int64_t wanted = std::max(size - std::ssize(positives), std::int64_t{0});
  // Where more are wanted than not, those that are not are drawn.
  const bool left_out = wanted > others / 2;
  constexpr std::int64_t words = 32;  // to look at, rather than to sort one class more
  DistinctClasses chosen(left_out ? classes : std::ssize(positives) + wanted, classes, words);
  for (const std::int64_t id : positives) chosen.insert(id);
  draw(options, left_out ? others - wanted : wanted, classes, chosen);
  if (left_out) {
    chosen.complement(classes);
    for (const std::int64_t id : positives) chosen.insert(id);
  }
  PartialFC sample;
  sample.ids = chosen.ascending(std::ssize(positives) + wanted);

  const double log_rate =
      wanted == 0 ? 0.0 : portable::log(static_cast<double>(wanted) / static_cast<double>(others));
  sample.log_correction.assign(sample.ids.size(), log_rate);
  for (const std::int64_t id : positives)
    sample.log_correction[static_cast<std::size_t>(place_of(id, sample.ids))] = 0.0;
  sample.remapped_targets = remapped(of_rows, sample.ids);
  return sample;
}

}  // namespace fastsoftmax
