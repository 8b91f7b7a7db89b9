// What encoder–decoders learn from: sentinels and ends of texts, prompts and responses.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/data/tokenizer/tokenizer.h"
#include "core/objective/denoising_lm.h"
#include "core/objective/sequence_to_sequence.h"
#include "launch/instruction_data.h"

namespace tsugi {

/// `id`, or if that is -1 the tokenizer's (may be null) end of text. Throws Error(kUsage) naming `field` when there is
/// none, or it lies outside the vocabulary.
int32_t require_end_token(int64_t id, const Tokenizer* tokenizer, int64_t vocabulary, const std::string& field);

/// `count` sentinels: `first` and the ids before it, or if that is -1 the tokenizer's "<extra_id_0>", "<extra_id_1>" …
/// Throws Error(kUsage) naming `field` when there are too few, they lie outside the vocabulary or are text.
std::vector<int32_t> require_sentinels(int64_t first, int64_t count, const Tokenizer* tokenizer, int64_t vocabulary,
                                       const std::string& field);

/// The vocabulary that an objective of pairs needs at least: its ids are below it.
int64_t vocabulary_of_pairs(const ObjectiveConfig& objective);

/// span_corruption or denoising; end_token in `config` is filled in. `tokenizer` may be null.
std::unique_ptr<Objective> make_denoising_objective(LanguageData data, const Tokenizer* tokenizer, RunConfig& config);

/// sequence_to_sequence on JSONL files; end_token and, if 0, the vocabulary of `config` are filled in. `validation` may
/// be empty; `description` receives a line for people.
std::unique_ptr<Objective> make_pairs_objective(const std::string& train, const std::string& validation,
                                                const std::string& tokenizer_file, RunConfig& config,
                                                std::string& description);

/// The ids by which a checkpoint's texts end and its sentinels begin, for its config.json. `objective` is resolved.
void add_pair_tokens(const ObjectiveConfig& objective, HuggingfaceModel& description);

/// Reads examples of any length: what does not fit is pairs_of()'s to say. `options.end_of_text` must be set.
Instructions read_whole_instructions(const std::vector<std::string>& inputs, const Tokenizer& tokenizer,
                                     InstructionOptions options);

/// Prompts of at most `shape.inputs` tokens, their end token included, and responses of shape.targets; longer ones are
/// cut, left out or refused as `options` says, and counted. Conversations of several turns are refused. `origin`: for
/// messages.
std::vector<TokenPair> pairs_of(const std::vector<ScoredTokens>& examples, const InstructionOptions& options,
                                int64_t vocabulary, const PairShape& shape, const std::string& origin,
                                InstructionCounts& counts);

/// The usual span corruption with a checkpoint's own sentinels and end.
SpanCorruption span_corruption_of(const HuggingfaceModel& description);

/// Prompt ids as such a model reads them: with the end token behind.
std::vector<int32_t> ended(std::vector<int32_t> ids, int32_t end_token);

}  // namespace tsugi
