#include "launch/mask_token.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "ops/base/error.h"

namespace tsugi {

std::optional<int32_t> mask_token_of(const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) return std::nullopt;
  for (const char* name : kMaskNames) {
    const std::optional<int32_t> id = tokenizer->find_token(name);
    if (id && tokenizer->is_special(*id)) return id;
  }
  return std::nullopt;
}

int64_t require_mask_token(int64_t id, const Tokenizer* tokenizer, int64_t vocabulary) {
  const std::string hint =
      "give its id (objective.masked_lm.mask_token, --mask-token): of the tokenizer's, or, if model.vocabulary is made "
      "larger than the tokenizer's, one beside them";
  if (id < 0) {
    const std::optional<int32_t> known = mask_token_of(tokenizer);
    if (!known)
      throw Error(ExitCode::kUsage, "no mask token: the tokenizer has neither \"[MASK]\" nor \"<mask>\"", hint);
    id = *known;
  }
  if (id >= vocabulary) {
    throw Error(
        ExitCode::kUsage,
        "the mask token " + std::to_string(id) + " is not below the vocabulary of " + std::to_string(vocabulary), hint);
  }
  return id;
}

int64_t said_token(const HuggingfaceModel& description, const std::string& field) {
  const auto said = description.token_ids.find(field);
  if (said == description.token_ids.end()) return -1;
  int64_t id = -1;
  const char* const end = said->second.data() + said->second.size();
  const auto [rest, failure] = std::from_chars(said->second.data(), end, id);
  return failure != std::errc() || rest != end ? -1 : id;  // null, or a list
}

int64_t checkpoint_mask_token(int64_t id, const HuggingfaceModel& description, const Tokenizer* tokenizer) {
  if (id < 0) id = said_token(description, "mask_token_id");
  return require_mask_token(id, tokenizer, description.model.vocabulary());
}

std::optional<MaskedLanguageModel> hiding_of(const ObjectiveConfig& objective) {
  if (objective.has_masked_lm()) return objective.masked_lm();
  if (!objective.has_replaced_token_detection()) return std::nullopt;
  const ReplacedTokenDetection& replaced = objective.replaced_token_detection();
  MaskedLanguageModel hiding;
  hiding.set_probability(replaced.probability());
  hiding.set_mask_share(replaced.mask_share());
  hiding.set_random_share(0.0);
  hiding.set_mask_token(replaced.mask_token());
  return hiding;
}

namespace {

int64_t require_mark(int64_t id, const char* name, const std::string& field, const Tokenizer* tokenizer,
                     int64_t vocabulary) {
  if (id < 0) {
    const std::optional<int32_t> known = tokenizer == nullptr ? std::nullopt : tokenizer->find_token(name);
    if (!known || !tokenizer->is_special(*known)) {
      throw Error(ExitCode::kUsage, field + ": the tokenizer has no special token \"" + name + "\"",
                  "give an id: of the tokenizer's, or, if model.vocabulary is made larger, one beside them");
    }
    id = *known;
  }
  if (id >= vocabulary) {
    throw Error(ExitCode::kUsage,
                field + ": " + std::to_string(id) + " is not below the vocabulary of " + std::to_string(vocabulary),
                "raise model.vocabulary");
  }
  return id;
}

}  // namespace

void resolve_tokens(MaskedLanguageModel& config, const Tokenizer* tokenizer, int64_t vocabulary) {
  config.set_mask_token(require_mask_token(config.mask_token(), tokenizer, vocabulary));
  if (!config.next_sentence()) return;
  const std::string path = "objective.masked_lm.";
  config.set_cls_token(require_mark(config.cls_token(), "[CLS]", path + "cls_token", tokenizer, vocabulary));
  config.set_sep_token(require_mark(config.sep_token(), "[SEP]", path + "sep_token", tokenizer, vocabulary));
}

PairRule pair_rule_of(const MaskedLanguageModel& config, const Tokenizer* tokenizer, int64_t vocabulary) {
  constexpr std::array<std::string_view, 6> kEnds = {".", "!", "?", "\u3002", "\uFF01", "\uFF1F"};
  PairRule rule{.short_share = config.short_share(),
                .cls_token = static_cast<int32_t>(config.cls_token()),
                .sep_token = static_cast<int32_t>(config.sep_token()),
                .sentence_ends = {}};
  std::string text;
  for (int64_t id = 0; tokenizer != nullptr && id < std::min(tokenizer->vocabulary(), vocabulary); ++id) {
    text.clear();
    tokenizer->append_token(static_cast<int32_t>(id), text);
    text.erase(0, text.find_first_not_of(' '));
    if (std::ranges::find(kEnds, text) != kEnds.end()) rule.sentence_ends.push_back(static_cast<int32_t>(id));
  }
  return rule;
}

Masking masking_of(const MaskedLanguageModel& config, const Tokenizer* tokenizer, int64_t vocabulary) {
  Masking masking{.probability = config.probability(),
                  .mask_share = config.mask_share(),
                  .random_share = config.random_share(),
                  .mask_token = static_cast<int32_t>(config.mask_token()),
                  .vocabulary = vocabulary,
                  .special = {static_cast<int32_t>(config.mask_token())}};
  if (config.next_sentence()) {
    masking.special.push_back(static_cast<int32_t>(config.cls_token()));
    masking.special.push_back(static_cast<int32_t>(config.sep_token()));
  }
  for (int64_t id = 0; tokenizer != nullptr && id < std::min(tokenizer->vocabulary(), vocabulary); ++id) {
    if (tokenizer->is_special(static_cast<int32_t>(id))) masking.special.push_back(static_cast<int32_t>(id));
  }
  std::ranges::sort(masking.special);
  return masking;
}

}  // namespace tsugi
