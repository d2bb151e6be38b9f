#include "partial_fc_targets.h"

#include <algorithm>
#include <string>

#include "linear_checks.h"
#include "loss_options.h"
#include "view_checks.h"

namespace fastsoftmax {

std::vector<std::int64_t> targets_here(const ConstView& targets, std::int64_t classes,
                                       std::int64_t vocab_start,
                                       std::optional<std::int64_t> vocab_size,
                                       std::int64_t ignore_index) {
  const Vocabulary vocabulary(vocab_start, vocab_size, classes);
  check_view(targets, "targets");
  check_dtype(targets, DType::i64, "targets");
  if (targets.shape.size() != 1)
    throw InvalidArgument("targets must have 1 dimension, not shape " + shape_text(targets.shape));
  std::vector<std::int64_t> of = elements_of<std::int64_t>(targets, targets.shape, "targets");
  for (std::size_t r = 0; r < of.size(); ++r) {
    std::int64_t& target = of[r];
    if (target == ignore_index) {
      target = kIgnored;
      continue;
    }
    if (!vocabulary.has(target))
      vocabulary.refuse("target " + std::to_string(target) + " of row " + std::to_string(r));
    target = vocabulary.row_of(target);
  }
  return of;
}

std::int64_t place_of(std::int64_t id, const std::vector<std::int64_t>& ids) {
  const auto at = std::ranges::lower_bound(ids, id);
  return at != ids.end() && *at == id ? at - ids.begin() : -1;
}

std::vector<std::int64_t> remapped(std::vector<std::int64_t> targets,
                                   const std::vector<std::int64_t>& ids) {
  for (std::size_t r = 0; r < targets.size(); ++r) {
    std::int64_t& target = targets[r];
    if (target == kNoTarget || target == kIgnored) {
      target = target == kIgnored ? -1 : std::ssize(ids);
      continue;
    }
    const std::int64_t place = place_of(target, ids);
    if (place < 0)
      throw InvalidArgument("row " + std::to_string(target) + " of W, the target of row " +
                            std::to_string(r) + ", is not among ids");
    target = place;
  }
  return targets;
}

}  // namespace fastsoftmax
