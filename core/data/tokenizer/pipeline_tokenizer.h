// What surrounds the model of a tokenizer.json, whichever it is: added tokens, normalizer, pre-tokenizer,
// post-processor.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/data/json.h"
#include "core/data/tokenizer/normalizer.h"
#include "core/data/tokenizer/pre_tokenizer.h"
#include "core/data/tokenizer/tokenizer.h"
#include "core/data/tokenizer/tokenizer_template.h"

namespace tsugi {

class BpeCache;

inline constexpr int64_t kMaxVocabularyTokens = int64_t{1} << 24;

/// The "vocab" of a model.
struct NamedTokens {
  std::vector<const std::string*> names;         ///< by id, in the document
  std::unordered_map<std::string, int32_t> ids;  ///< by name
};
/// {name: id, …}: ids from 0 without holes, no name empty; anything else is an Error(kData).
NamedTokens read_named_tokens(const JsonValue& vocabulary);

class PipelineTokenizer : public Tokenizer {
 public:
  int64_t vocabulary() const override { return size_; }
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override;
  void append_token(int32_t id, std::string& text) const override;
  std::optional<int32_t> find_token(std::string_view content) const override;
  std::span<const AddedToken> added_tokens() const override { return added_; }
  bool is_special(int32_t id) const override;
  std::string to_json() const override { return text_; }

 protected:
  /// One text on its way.
  struct Work {
    std::vector<int32_t> ids;
    bool skip_special = false;
    BpeCache* cache = nullptr;  ///< the model's
  };

  /// Reads normalizer and pre-tokenizer; `text` is the document's. `byte_level`: as for PreTokenizer.
  PipelineTokenizer(const JsonValue& document, std::string text, bool byte_level);
  /// The rest of the document; once the model is there. `ids` are those of the model's tokens, `size` their number;
  /// `decoded` is what the decoder makes of an added token's content.
  void read_tokens(const JsonValue& document, const std::unordered_map<std::string, int32_t>& ids, int64_t size,
                   const std::function<std::string(const std::string&)>& decoded);

  void encode_whole(std::string_view text, const EncodeOptions& options, Work& work) const;
  const PreTokenizer& pre_tokenizer() const { return pre_tokenizer_; }

  /// Normalized text without added tokens. `start`: nothing stands before it.
  virtual void encode_plain(std::string_view text, bool start, Work& work) const = 0;
  /// Bytes that are no UTF-8.
  virtual void encode_invalid(std::string_view bytes, Work& work) const = 0;
  /// Of the model's tokens.
  virtual void append_model_token(int32_t id, std::string& text) const = 0;
  virtual std::optional<int32_t> find_model_token(std::string_view content) const = 0;

 private:
  void encode_valid(std::string_view text, bool start, Work& work) const;

  std::string text_;  // the file
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::vector<AddedToken> added_;     // ascending by id
  std::vector<std::string> decoded_;  // of added_
  std::vector<int32_t> by_id_;        // index in added_, or -1
  AddedTokenFinder original_;
  AddedTokenFinder normalized_;
  TokenTemplate template_;
  int64_t size_ = 0;
};

}  // namespace tsugi
