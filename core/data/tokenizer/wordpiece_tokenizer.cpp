#include <array>
#include <list>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/data/tokenizer/forms.h"
#include "core/data/tokenizer/pipeline_tokenizer.h"
#include "core/data/tokenizer/wordpiece_model.h"

namespace tsugi {
namespace {

// A word of so many characters could still be cut in a moment.
constexpr int64_t kMostWordCharacters = 10000;

WordPieceModel read_wordpiece(const JsonValue& model, const NamedTokens& tokens) {
  model.require_only({"type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"});
  WordPieceModel::Options options;
  options.prefix = model.require_string("continuing_subword_prefix");
  options.longest_word = model.require_int("max_input_chars_per_word", 0, kMostWordCharacters);
  const std::string unknown = model.require_string("unk_token");
  const auto found = tokens.ids.find(unknown);
  if (found == tokens.ids.end()) {
    throw model.require("unk_token").error("\"" + unknown.substr(0, 80) + "\" is not in the vocabulary");
  }
  options.unknown = found->second;
  std::vector<std::string> names;
  for (const std::string* name : tokens.names) names.push_back(*name);
  return WordPieceModel(std::move(names), std::move(options));
}

/// What ids are turned to text by: {"type": "WordPiece", "prefix": "##", "cleanup": true}. A token is written behind a
/// space, unless it goes on with a word.
class WordPieceDecoder {
 public:
  explicit WordPieceDecoder(const JsonValue& element) {
    const std::string type = element.is_null() ? "null" : element.require_string("type");
    if (type != "WordPiece") throw element.error("\"" + type.substr(0, 80) + "\" is not supported; must be WordPiece");
    element.require_only({"type", "prefix", "cleanup"});
    prefix_ = element.require_string("prefix");
    cleanup_ = element.require_bool("cleanup");
  }

  std::string apply(const std::string& token) const {
    std::string text = token.starts_with(prefix_) ? token.substr(prefix_.size()) : " " + token;
    if (!cleanup_) return text;
    // In this order, as Hugging Face's decoders/wordpiece.rs has them.
    constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kCleanups = {{{" .", "."},
                                                                                          {" ?", "?"},
                                                                                          {" !", "!"},
                                                                                          {" ,", ","},
                                                                                          {" ' ", "'"},
                                                                                          {" n't", "n't"},
                                                                                          {" 'm", "'m"},
                                                                                          {" do not", " don't"},
                                                                                          {" 's", "'s"},
                                                                                          {" 've", "'ve"},
                                                                                          {" 're", "'re"}}};
    for (const auto& [from, to] : kCleanups) {
      for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
        text.replace(at, from.size(), to);
      }
    }
    return text;
  }

 private:
  std::string prefix_;
  bool cleanup_ = false;
};

class WordPieceTokenizer : public PipelineTokenizer {
 public:
  WordPieceTokenizer(const JsonValue& document, std::string text, const NamedTokens& tokens)
      : PipelineTokenizer(document, std::move(text), false),
        model_(read_wordpiece(document.require_object("model"), tokens)) {
    const WordPieceDecoder decoder(document.require("decoder"));
    for (const std::string* name : tokens.names) texts_.push_back(decoder.apply(*name));
    read_tokens(document, tokens.ids, model_.vocabulary(),
                [&](const std::string& content) { return decoder.apply(content); });
  }

  /// A text does not begin with the space before its first word.
  size_t leading_spaces() const override { return 1; }

 private:
  void encode_plain(std::string_view text, bool start, Work& work) const override {
    std::list<std::string> store;
    for (const std::string_view piece : pre_tokenizer().split(text, start, store)) model_.encode(piece, work.ids);
  }
  void encode_invalid(std::string_view bytes, Work& work) const override { model_.encode(bytes, work.ids); }
  void append_model_token(int32_t id, std::string& text) const override { text += texts_[static_cast<size_t>(id)]; }
  std::optional<int32_t> find_model_token(std::string_view content) const override {
    const int32_t id = model_.find(content);
    return id < 0 ? std::nullopt : std::optional(id);
  }

  WordPieceModel model_;
  std::vector<std::string> texts_;  // by id: what the model's tokens are decoded to
};

}  // namespace

std::unique_ptr<Tokenizer> read_wordpiece_tokenizer(const JsonValue& document, std::string text) {
  const JsonValue vocabulary = document.require_object("model").require_object("vocab");
  return std::make_unique<WordPieceTokenizer>(document, std::move(text), read_named_tokens(vocabulary));
}

}  // namespace tsugi
