#include "fastsoftmax/class_softmax.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace fastsoftmax {

std::vector<std::int64_t> frequency_classes(std::span<const std::int64_t> counts,
                                            std::int64_t classes) {
  const auto words = static_cast<std::int64_t>(counts.size());
  if (counts.empty()) throw InvalidArgument("there are no counts");
  if (classes < 0 || classes > words)
    throw InvalidArgument("classes must be between 1 and the number of words, " +
                          std::to_string(words) + ", got " + std::to_string(classes));
  const auto negative = std::ranges::find_if(counts, [](std::int64_t c) { return c < 0; });
  if (negative != counts.end())
    throw InvalidArgument("the count of word " + std::to_string(negative - counts.begin()) +
                          " is negative: " + std::to_string(*negative));
  std::vector<std::int64_t> order(counts.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto count_of = [&](std::int64_t word) { return counts[static_cast<std::size_t>(word)]; };
  std::ranges::stable_sort(order, std::ranges::greater(), count_of);
  const auto share_of = [&](std::int64_t word) {
    return std::sqrt(static_cast<double>(std::max<std::int64_t>(count_of(word), 1)));
  };
  double total = 0.0;
  double occurrences = 0.0;
  for (const std::int64_t word : order) {
    total += share_of(word);
    occurrences += share_of(word) * share_of(word);
  }
  const double wanted = classes > 0 ? static_cast<double>(classes)
                                    : std::clamp(std::round(total / std::sqrt(occurrences)), 1.0,
                                                 static_cast<double>(words));
  std::vector<std::int64_t> labels(counts.size());
  double before = 0.0;  // the shares of the words before
  double begun = 0.0;   // the number of the class, had none been passed over
  std::int64_t label = 0;
  for (const std::int64_t word : order) {
    const double number = std::floor(before / total * wanted);
    if (number > begun) {
      begun = number;
      ++label;
    }
    labels[static_cast<std::size_t>(word)] = label;
    before += share_of(word);
  }
  return labels;
}

}  // namespace fastsoftmax
