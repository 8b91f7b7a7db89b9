#include <algorithm>
#include <list>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>

#include "core/data/tokenizer/byte_fallback.h"
#include "core/data/tokenizer/forms.h"
#include "core/data/tokenizer/metaspace.h"
#include "core/data/tokenizer/pipeline_tokenizer.h"
#include "core/data/tokenizer/unigram_model.h"

namespace tsugi {
namespace {

/// [["▁the", -3.2], …], ids in this order.
std::vector<UnigramModel::Token> read_scored_tokens(const JsonValue& vocabulary) {
  const int64_t size = vocabulary.size();
  if (size == 0) throw vocabulary.error("is empty");
  if (size > kMaxVocabularyTokens) {
    throw vocabulary.error("has more than " + std::to_string(kMaxVocabularyTokens) + " tokens");
  }
  std::vector<UnigramModel::Token> tokens;
  tokens.reserve(static_cast<size_t>(size));
  for (const nlohmann::json& pair : vocabulary.raw()) {
    const auto at = static_cast<int64_t>(tokens.size());
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_number()) {
      throw vocabulary.at(at).error("must be [\"TOKEN\", SCORE]");
    }
    if (pair[0].get_ref<const std::string&>().empty()) throw vocabulary.at(at).error("the token is empty");
    tokens.push_back({pair[0].get<std::string>(), pair[1].get<double>()});
  }
  return tokens;
}

struct ScoredVocabulary {
  std::vector<UnigramModel::Token> tokens;
  std::unordered_map<std::string, int32_t> ids;

  explicit ScoredVocabulary(const JsonValue& list) : tokens(read_scored_tokens(list)) {
    ids.reserve(tokens.size() * 2);
    for (size_t i = 0; i < tokens.size(); ++i) {
      const auto [place, is_new] = ids.emplace(tokens[i].name, static_cast<int32_t>(i));
      if (!is_new) {
        throw list.at(static_cast<int64_t>(i)).error("stands in the list before: " + std::to_string(place->second));
      }
    }
  }
};

UnigramModel read_unigram(const JsonValue& model, std::vector<UnigramModel::Token> tokens) {
  model.require_only({"type", "unk_id", "vocab", "byte_fallback"});
  std::optional<int32_t> unknown;
  if (model.has("unk_id")) {
    unknown = static_cast<int32_t>(model.require_int("unk_id", 0, static_cast<int64_t>(tokens.size()) - 1));
  }
  return UnigramModel(std::move(tokens), unknown, model.bool_or("byte_fallback", false));
}

/// What ids are turned to text by: Metaspace, or the steps of FallbackDecoder.
class UnigramDecoder {
 public:
  explicit UnigramDecoder(const JsonValue& element) {
    const std::string type = element.is_null() ? "null" : element.require_string("type");
    if (type == "Metaspace") {
      metaspace_.emplace(element);
    } else if (type == "Sequence") {
      steps_.emplace(element);
    } else {
      throw element.error("\"" + type.substr(0, 80) + "\" is not supported",
                          "tsugi reads Metaspace, or Replace, ByteFallback, Fuse and Strip in this order, for Unigram");
    }
  }

  std::string apply(const std::string& token, bool first) const {
    return metaspace_ ? metaspace_->decoded(token, first) : steps_->apply(token);
  }
  size_t leading_spaces() const { return steps_ ? steps_->leading_spaces() : 0; }

 private:
  std::optional<Metaspace> metaspace_;
  std::optional<FallbackDecoder> steps_;
};

class UnigramTokenizer : public PipelineTokenizer {
 public:
  UnigramTokenizer(const JsonValue& document, std::string text, ScoredVocabulary vocabulary)
      : PipelineTokenizer(document, std::move(text), false),
        model_(read_unigram(document.require_object("model"), std::move(vocabulary.tokens))),
        decoder_(document.require("decoder")) {
    for (int32_t id = 0; id < model_.vocabulary(); ++id) texts_.push_back(decoder_.apply(model_.name(id), false));
    read_tokens(document, vocabulary.ids, model_.vocabulary(),
                [&](const std::string& content) { return decoder_.apply(content, false); });
  }

  void append_first_token(int32_t id, std::string& text) const override {
    const auto added = std::ranges::lower_bound(added_tokens(), id, {}, &AddedToken::id);
    const bool is_added = added != added_tokens().end() && added->id == id;
    text += decoder_.apply(is_added ? added->content : model_.name(id), true);
  }
  size_t leading_spaces() const override { return decoder_.leading_spaces(); }

 private:
  void encode_plain(std::string_view text, bool start, Work& work) const override {
    std::list<std::string> store;
    for (const std::string_view piece : pre_tokenizer().split(text, start, store)) model_.encode(piece, work.ids);
  }
  void encode_invalid(std::string_view bytes, Work& work) const override { model_.encode_unknown(bytes, work.ids); }
  void append_model_token(int32_t id, std::string& text) const override { text += texts_[static_cast<size_t>(id)]; }
  std::optional<int32_t> find_model_token(std::string_view content) const override {
    const int32_t id = model_.find(content);
    return id < 0 ? std::nullopt : std::optional(id);
  }

  UnigramModel model_;
  UnigramDecoder decoder_;
  std::vector<std::string> texts_;  // by id: what the model's tokens are decoded to
};

}  // namespace

std::unique_ptr<Tokenizer> read_unigram_tokenizer(const JsonValue& document, std::string text) {
  const JsonValue list = document.require_object("model").require_array("vocab");
  return std::make_unique<UnigramTokenizer>(document, std::move(text), ScoredVocabulary(list));
}

}  // namespace tsugi
