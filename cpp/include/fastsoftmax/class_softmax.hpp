// Softmax in two levels: p(word) = p(class of the word) p(word | its class). A tree of clusters
// (Tree::from_clusters) and the functions of hierarchical_softmax.hpp, with the vectors of classes
// as those of its inner nodes, which come before the root, and the vectors of words as those of its
// leaves.
//
// Source: Goodman, Classes for Fast Maximum Entropy Training (2001).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fastsoftmax/hierarchical_softmax.hpp"

namespace fastsoftmax {

// The class of each word, for about so many classes (0: as many as make a loss cost least), the
// most frequent words in class 0; what Tree::from_clusters takes. counts are not negative; 0 counts
// as 1.
//
// With n(r) words in the class of the word of rank r, of probability p(r), a loss costs
// sum_r p(r) n(r) products with words and sum_r 1 / n(r) with classes. The sum is least where n(r)
// = 1 / sqrt(p(r)): each class gets the same share of sum_r sqrt(p(r)), which is also the best
// number of classes.
//
// Throws InvalidArgument for negative counts, no counts, and `classes` outside [0, words].
std::vector<std::int64_t> frequency_classes(std::span<const std::int64_t> counts,
                                            std::int64_t classes = 0);

}  // namespace fastsoftmax
