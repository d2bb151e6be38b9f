#include "partial_fc_targets.h"

#include <algorithm>
#include <string>

#include "loss_options.h"
#include "view_checks.h"

namespace fastsoftmax {

std::vector<std::int64_t> targets_here(const ConstView& targets, std::int64_t classes,
                                       std::int64_t vocab_start,
                                       std::optional<std::int64_t> vocab_size,
                                       std::int64_t ignore_index) {
  if (vocab_start < 0 || vocab_start > INT64_MAX - classes)
    throw InvalidArgument("vocab_start must not be negative or exceed 64 bits, got " +
                          std::to_string(vocab_start));
  const std::int64_t end = vocab_start + classes;
  if (vocab_size && *vocab_size < end)
    throw InvalidArgument("there are " + std::to_string(classes) + " classes from " +
                          std::to_string(vocab_start) + " on, more than vocab_size " +
                          std::to_string(*vocab_size));
  check_view(targets, "targets");
  check_dtype(targets, DType::i64, "targets");
  if (targets.shape.size() != 1)
    throw InvalidArgument("targets must have 1 dimension, not shape " + shape_text(targets.shape));
  std::vector<std::int64_t> of = elements_of<std::int64_t>(targets, targets.shape, "targets");
  const std::int64_t least = vocab_size ? 0 : vocab_start;
  const std::int64_t most = vocab_size ? *vocab_size : end;
  for (std::size_t r = 0; r < of.size(); ++r) {
    std::int64_t& target = of[r];
    if (target == ignore_index) {
      target = kIgnored;
    } else if (target < least || target >= most) {
      throw InvalidIndex(
          "target " + std::to_string(target) + " of row " + std::to_string(r) +
          " is out of bounds for " +
          (most == least ? "no classes"
                         : "classes " + std::to_string(least) + " to " + std::to_string(most - 1)));
    } else {
      target = target >= vocab_start && target < end ? target - vocab_start : kNoTarget;
    }
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
