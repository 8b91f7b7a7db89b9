// A few examples of each class: what is left of a training set when labels are dear.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/downstream/baselines.h"

namespace tsugi {

/// The places of the first `count` examples of every label (of a rare one fewer), ascending; 0: all places.
std::vector<int64_t> first_of_each_label(std::span<const int32_t> labels, int64_t count);

/// The same, and every class must have `count` of them (0: one). labels[i] is an index into `classes`. Throws
/// Error(kData) "ORIGIN: …" naming the first class that has too few.
std::vector<int64_t> require_of_each_class(std::span<const int32_t> labels, const std::vector<std::string>& classes,
                                           int64_t count, const std::string& origin);

/// Those texts.
std::vector<LabelledText> some_of_each_class(std::span<const LabelledText> texts,
                                             const std::vector<std::string>& classes, int64_t count,
                                             const std::string& origin);

}  // namespace tsugi
