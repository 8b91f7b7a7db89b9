// Texts through a model, many at a time: what all that reads a model's outputs of whole texts shares.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/downstream/probe.h"
#include "core/model/transformer.h"

namespace tsugi {

/// Texts that were run together.
struct TextOutputs {
  std::span<const size_t> texts;  ///< which ones, a row each
  std::vector<int64_t> lengths;   ///< tokens of each that the model read, at least 1
  Variable hidden;                ///< [rows, T, width]: outputs behind a text's length mean nothing
};

/// Runs the texts, `rows` of similar length at a time, and shows their outputs. A text longer than the context keeps
/// its beginning; an empty one is one token 0. Padding is hidden from attention that would look there.
void for_each_text_outputs(const Context& context, const Transformer& model,
                           std::span<const std::vector<int32_t>> texts, int64_t rows,
                           const std::function<void(Tape&, const TextOutputs&)>& show);

/// What stands for a text.
enum class TextPooling { kMean, kFirst, kLast };

/// A row of features for each text, in their order: the mean of its tokens' outputs (summed in double, in order), or
/// the first or last one's. No labels.
FeatureTable text_features(const Context& context, const Transformer& model,
                           std::span<const std::vector<int32_t>> texts, TextPooling pooling, int64_t rows);

}  // namespace tsugi
