#include "launch/pair_data.h"

#include <glog/logging.h>

#include <algorithm>

#include "core/config/limits.h"
#include "launch/mask_token.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

void check_id(int64_t id, int64_t vocabulary, const std::string& field) {
  if (id < vocabulary) return;
  throw Error(
      ExitCode::kUsage,
      field + ": the id " + std::to_string(id) + " is not below the vocabulary of " + std::to_string(vocabulary),
      "raise model.vocabulary");
}

void check_ids(const std::vector<int32_t>& ids, int64_t vocabulary) {
  const int32_t largest = *std::ranges::max_element(ids);
  if (largest < vocabulary) return;
  throw Error(ExitCode::kData,
              "tokenizer.json gives id " + std::to_string(largest) + ", but the model has a vocabulary of " +
                  std::to_string(vocabulary),
              "`tsugi import --vocabulary N` makes a model with more tokens");
}

/// Where the field of an objective's kind is: for messages.
std::string path_of(const ObjectiveConfig& objective) {
  return objective.has_span_corruption() ? "objective.span_corruption" : "objective.denoising";
}

}  // namespace

int32_t require_end_token(int64_t id, const Tokenizer* tokenizer, int64_t vocabulary, const std::string& field) {
  if (id < 0) {
    const std::optional<int32_t> known = tokenizer == nullptr ? std::nullopt : tokenizer->end_of_text();
    if (!known) {
      throw Error(ExitCode::kUsage, field + ": there is no token that ends a text in the tokenizer",
                  "give its id: of the tokenizer's, or, if model.vocabulary is made larger, one beside them");
    }
    id = *known;
  }
  check_id(id, vocabulary, field);
  return static_cast<int32_t>(id);
}

std::vector<int32_t> require_sentinels(int64_t first, int64_t count, const Tokenizer* tokenizer, int64_t vocabulary,
                                       const std::string& field) {
  const std::string hint = "set it to an id beside the tokenizer's: model.vocabulary " + std::to_string(count) +
                           " larger than the tokenizer's, and its last id here";
  std::vector<int32_t> sentinels;
  for (int64_t i = 0; i < count; ++i) {
    if (first < 0) {
      const std::string name = "<extra_id_" + std::to_string(i) + ">";
      const std::optional<int32_t> id = tokenizer == nullptr ? std::nullopt : tokenizer->find_token(name);
      if (!id) {
        throw Error(
            ExitCode::kUsage,
            field + ": " + std::to_string(count) + " sentinels are needed, but the tokenizer has no \"" + name + "\"",
            hint);
      }
      sentinels.push_back(*id);
    } else {
      if (i > first) {
        throw Error(ExitCode::kUsage,
                    field + ": " + std::to_string(count) + " sentinels are needed, but there are only " +
                        std::to_string(first + 1) + " ids up to " + std::to_string(first),
                    hint);
      }
      const auto id = static_cast<int32_t>(first - i);
      if (tokenizer != nullptr && id < tokenizer->vocabulary() && !tokenizer->is_special(id)) {
        throw Error(ExitCode::kUsage,
                    field + ": " + std::to_string(count) + " sentinels are needed, but the id " + std::to_string(id) +
                        " is text in the tokenizer",
                    hint);
      }
      sentinels.push_back(id);
    }
    check_id(sentinels.back(), vocabulary, field);
  }
  return sentinels;
}

int64_t vocabulary_of_pairs(const ObjectiveConfig& objective) {
  int64_t largest = -1;
  if (objective.has_span_corruption()) {
    largest = std::max(objective.span_corruption().first_sentinel(), objective.span_corruption().end_token());
  }
  if (objective.has_denoising()) {
    largest = std::max(objective.denoising().first_sentinel(), objective.denoising().end_token());
    for (const Denoiser& rule : objective.denoising().denoiser()) {
      largest = std::max({largest, rule.mask_token(), rule.mode_token()});
    }
  }
  if (objective.has_sequence_to_sequence()) largest = objective.sequence_to_sequence().end_token();
  return largest + 1;
}

std::unique_ptr<Objective> make_denoising_objective(LanguageData data, const Tokenizer* tokenizer, RunConfig& config) {
  ObjectiveConfig& objective = *config.mutable_objective();
  const int64_t vocabulary = config.model().vocabulary();
  const int64_t sequence = config.batch().sequence();
  const std::string path = path_of(objective);
  const bool spans = objective.has_span_corruption();
  const int64_t first = spans ? objective.span_corruption().first_sentinel() : objective.denoising().first_sentinel();
  const int64_t end = spans ? objective.span_corruption().end_token() : objective.denoising().end_token();
  DenoisingRules rules;
  rules.rules = rules_of(objective);
  for (const DenoisingRule& rule : rules.rules) {
    check_id(rule.config.mask_token(), vocabulary, path + ".denoiser.mask_token");
    check_id(rule.config.mode_token(), vocabulary, path + ".denoiser.mode_token");
  }
  shape_of_denoising(rules.rules, sequence);  // says if it is too short
  rules.end_token = require_end_token(end, tokenizer, vocabulary, path + ".end_token");
  rules.sentinels = require_sentinels(first, sentinels_of_denoising(rules.rules, sequence), tokenizer, vocabulary,
                                      path + ".first_sentinel");
  if (std::ranges::find(rules.sentinels, rules.end_token) != rules.sentinels.end()) {
    throw Error(ExitCode::kUsage,
                path + ".end_token: the id " + std::to_string(rules.end_token) + " is one of the " +
                    std::to_string(rules.sentinels.size()) + " sentinels",
                "give it an id of its own");
  }
  if (spans) {
    objective.mutable_span_corruption()->set_end_token(rules.end_token);
  } else {
    objective.mutable_denoising()->set_end_token(rules.end_token);
  }
  return std::make_unique<DenoisingLm>(std::move(data), std::move(rules), vocabulary, sequence,
                                       config.model().decoder_start_token(), config.seed());
}

void add_pair_tokens(const ObjectiveConfig& objective, HuggingfaceModel& description) {
  const auto set = [&](const char* field, int64_t id) {
    if (id >= 0) description.token_ids[field] = std::to_string(id);
  };
  if (objective.has_span_corruption()) {
    set("eos_token_id", objective.span_corruption().end_token());
    set(kFirstSentinelField, objective.span_corruption().first_sentinel());
  }
  if (objective.has_denoising()) {
    set("eos_token_id", objective.denoising().end_token());
    set(kFirstSentinelField, objective.denoising().first_sentinel());
  }
  if (objective.has_sequence_to_sequence()) set("eos_token_id", objective.sequence_to_sequence().end_token());
}

SpanCorruption span_corruption_of(const HuggingfaceModel& description) {
  SpanCorruption result;
  apply_presets(result);
  result.set_first_sentinel(said_token(description, kFirstSentinelField));
  result.set_end_token(said_token(description, "eos_token_id"));
  return result;
}

std::vector<int32_t> ended(std::vector<int32_t> ids, int32_t end_token) {
  if (ids.empty() || ids.back() != end_token) ids.push_back(end_token);
  return ids;
}

Instructions read_whole_instructions(const std::vector<std::string>& inputs, const Tokenizer& tokenizer,
                                     InstructionOptions options) {
  CHECK(options.end_of_text.has_value());
  options.too_long = InstructionOptions::TooLong::kCut;
  options.max_tokens = std::max<int64_t>(options.max_line_bytes, 2) * 2;  // a token is a byte or more: nothing is cut
  return read_instructions(inputs, tokenizer, options);
}

std::vector<TokenPair> pairs_of(const std::vector<ScoredTokens>& examples, const InstructionOptions& options,
                                int64_t vocabulary, const PairShape& shape, const std::string& origin,
                                InstructionCounts& counts) {
  const int32_t end_token = *options.end_of_text;
  const InstructionOptions::TooLong too_long = options.too_long;
  std::vector<TokenPair> pairs;
  for (const ScoredTokens& example : examples) {
    const auto response = std::ranges::find(example.scored, 1) - example.scored.begin();
    // A chat template may have more behind the last turn.
    const auto end = example.scored.rend() - std::find(example.scored.rbegin(), example.scored.rend(), 1);
    if (std::find(example.scored.begin() + response, example.scored.begin() + end, 0) != example.scored.begin() + end) {
      throw Error(ExitCode::kData, origin + ": a conversation has several turns of the assistant",
                  "an encoder with a decoder learns one response to one prompt");
    }
    check_ids(example.ids, vocabulary);
    TokenPair pair{ended({example.ids.begin(), example.ids.begin() + response}, end_token),
                   ended({example.ids.begin() + response, example.ids.begin() + end}, end_token)};
    const bool fits = static_cast<int64_t>(pair.input.size()) <= shape.inputs &&
                      static_cast<int64_t>(pair.target.size()) <= shape.targets;
    if (!fits && too_long == InstructionOptions::TooLong::kRefuse) {
      throw Error(ExitCode::kData, origin + ": a prompt of " + std::to_string(pair.input.size()) +
                                       " tokens with a response of " + std::to_string(pair.target.size()) +
                                       ", more than " + std::to_string(shape.inputs) + " and " +
                                       std::to_string(shape.targets));
    }
    if (!fits && too_long == InstructionOptions::TooLong::kDrop) {
      ++counts.too_long;
      continue;
    }
    if (!fits) {
      ++counts.cut;
      if (static_cast<int64_t>(pair.input.size()) > shape.inputs) {
        pair.input.resize(static_cast<size_t>(shape.inputs));
        pair.input.back() = end_token;
      }
      pair.target.resize(std::min(pair.target.size(), static_cast<size_t>(shape.targets)));
    }
    counts.scored += static_cast<int64_t>(pair.target.size());
    pairs.push_back(std::move(pair));
  }
  if (pairs.empty() && !examples.empty()) {
    throw Error(ExitCode::kData, origin + ": there is no example to learn from: all " +
                                     std::to_string(counts.too_long) + " are too long");
  }
  counts.examples = static_cast<int64_t>(pairs.size());
  return pairs;
}

std::unique_ptr<Objective> make_pairs_objective(const std::string& train, const std::string& validation,
                                                const std::string& tokenizer_file, RunConfig& config,
                                                std::string& description) {
  SequenceToSequence& pairs = *config.mutable_objective()->mutable_sequence_to_sequence();
  if (tokenizer_file.empty()) {
    throw Error(ExitCode::kData,
                "objective.sequence_to_sequence needs a tokenizer, but there is no tokenizer.json beside " + train,
                "put one there: of `tsugi prepare` or `tsugi tokenizer train`");
  }
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(tokenizer_file);
  if (config.model().vocabulary() == 0) {
    config.mutable_model()->set_vocabulary(std::max(tokenizer->vocabulary(), vocabulary_of_pairs(config.objective())));
  }
  const int64_t vocabulary = config.model().vocabulary();
  pairs.set_end_token(
      require_end_token(pairs.end_token(), tokenizer.get(), vocabulary, "objective.sequence_to_sequence.end_token"));
  InstructionOptions options;
  options.prompt_field = pairs.prompt_field();
  options.response_field = pairs.response_field();
  options.prompt_template = pairs.prompt_template();
  options.chat = ChatTemplate::of(*tokenizer);
  options.end_of_text = static_cast<int32_t>(pairs.end_token());
  const PairShape shape{config.batch().sequence(),
                        pairs.response_sequence() > 0 ? pairs.response_sequence() : config.batch().sequence(), true};
  InstructionCounts training;
  InstructionCounts validating;
  const auto read = [&](const std::string& path, InstructionCounts& counts) {
    const Instructions data = read_whole_instructions({path}, *tokenizer, options);
    counts.empty = data.empty;
    return pairs_of(data.examples, options, vocabulary, shape, path, counts);
  };
  std::vector<TokenPair> train_pairs = read(train, training);
  std::vector<TokenPair> validation_pairs;
  if (!validation.empty()) validation_pairs = read(validation, validating);
  description = describe(training);
  return std::make_unique<SequenceToSequenceLm>(std::move(train_pairs), std::move(validation_pairs), shape,
                                                config.model().decoder_start_token(), config.seed());
}

}  // namespace tsugi
