// Which token hides others, and which tokens are never hidden.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/config/run.pb.h"
#include "core/data/tokenizer/tokenizer.h"
#include "core/model/huggingface.h"
#include "core/objective/masking.h"
#include "core/objective/next_sentence.h"

namespace tsugi {

/// How a tokenizer calls it: "[MASK]" (BERT) or "<mask>" (RoBERTa).
inline constexpr const char* kMaskNames[] = {"[MASK]", "<mask>"};

/// The mask token of `tokenizer` (may be null); nothing if it has none.
std::optional<int32_t> mask_token_of(const Tokenizer* tokenizer);

/// The id that a checkpoint's config.json gives as `field`; -1: none, or several.
int64_t said_token(const HuggingfaceModel& description, const std::string& field);

/// The mask token of a checkpoint: `id` if not -1, else what its config.json says ("mask_token_id", ours), else that of
/// `tokenizer` (may be null). Errors as of require_mask_token().
int64_t checkpoint_mask_token(int64_t id, const HuggingfaceModel& description, const Tokenizer* tokenizer);

/// `id`, or if that is -1 the tokenizer's. Throws Error(kUsage) when there is none, or it lies outside the vocabulary.
int64_t require_mask_token(int64_t id, const Tokenizer* tokenizer, int64_t vocabulary);

/// How an objective hides tokens, in the fields of masked_lm; nothing: it hides none.
std::optional<MaskedLanguageModel> hiding_of(const ObjectiveConfig& objective);

/// Fills in what `config` leaves to the tokenizer (may be null): the mask token, and for next_sentence the tokens
/// around pieces. Throws Error(kUsage) when there is none, or it lies outside the vocabulary.
void resolve_tokens(MaskedLanguageModel& config, const Tokenizer* tokenizer, int64_t vocabulary);

/// How pairs of pieces are made, of a `config` that is resolved; pieces begin behind what ends a sentence in the
/// tokenizer (may be null).
PairRule pair_rule_of(const MaskedLanguageModel& config, const Tokenizer* tokenizer, int64_t vocabulary);

/// The rule of `config`, whose mask_token is resolved; special are the mask token, those around pieces, and the
/// tokenizer's special tokens.
Masking masking_of(const MaskedLanguageModel& config, const Tokenizer* tokenizer, int64_t vocabulary);

}  // namespace tsugi
