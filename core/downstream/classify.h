// What a classifier says of texts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/model/classifier_head.h"
#include "core/model/transformer.h"

namespace tsugi {

/// The scores of the classes for each text. A text longer than the context keeps its beginning, as in fine-tuning; an
/// empty one is one token 0. Texts of similar length are run together, `rows` at a time.
std::vector<std::vector<float>> class_scores(const Context& context, const Transformer& model,
                                             const ClassifierHead& head, std::span<const std::vector<int32_t>> texts,
                                             int64_t rows);

}  // namespace tsugi
