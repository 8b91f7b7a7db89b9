// Text ↔ token ids. The file form is Hugging Face's tokenizer.json, so that a checkpoint folder is theirs too.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/data/tokenizer/added_tokens.h"
#include "ops/base/thread_pool.h"

namespace tsugi {

struct EncodeOptions {
  /// What the file's post-processor puts around a text (Llama 3: <|begin_of_text|> before it).
  bool template_tokens = true;
  /// "<|endoftext|>" in the text is that token. False: it is ordinary text, as it must be when the text is not trusted.
  bool special_tokens = true;
};

/// All functions are const and may be called from several threads at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// One more than the largest id.
  virtual int64_t vocabulary() const = 0;
  /// Throws Error(kData) when the text has a symbol that the vocabulary lacks or is not UTF-8 where it must be, naming
  /// the symbol and its byte offset.
  virtual std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const = 0;
  /// The ids that Hugging Face's encode() gives.
  std::vector<int32_t> encode(std::string_view text) const { return encode(text, EncodeOptions()); }
  /// Special tokens are in the text by their content, so that decode(encode(x)) is x where no normalizer, prefix space
  /// or template changes it. Ids out of range throw Error(kData). `continues`: the text follows other text, so that it
  /// keeps a space at its start that leading_spaces() would drop.
  std::string decode(const std::vector<int32_t>& ids, bool continues = false) const;
  /// Appends the bytes of one token, which need not be whole characters; 0 ≤ id < vocabulary().
  virtual void append_token(int32_t id, std::string& text) const = 0;
  /// The same for the token that a text begins with, which may lose spaces there (Metaspace).
  virtual void append_first_token(int32_t id, std::string& text) const { append_token(id, text); }
  /// The token with this content (added tokens) or these bytes.
  virtual std::optional<int32_t> find_token(std::string_view content) const = 0;
  /// Ascending by id.
  virtual std::span<const AddedToken> added_tokens() const { return {}; }
  virtual bool is_special(int32_t /*id*/) const { return false; }
  /// The special token by which documents end, known by its usual names ("<|endoftext|>", "<|end_of_text|>", "</s>" …).
  std::optional<int32_t> end_of_text() const;
  /// The text of tokenizer.json; transformers' PreTrainedTokenizerFast reads it and gives the same ids.
  virtual std::string to_json() const = 0;
  /// How many spaces a decoded text loses at its start at most (Llama 2: the one that encoding put there).
  virtual size_t leading_spaces() const { return 0; }
};

/// Text from ids that come one by one: gives characters when they are complete.
class StreamDecoder {
 public:
  /// `tokenizer` must outlive it. With `skip_special` special tokens leave no trace. `continues`: as for decode().
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = false, bool continues = false)
      : tokenizer_(tokenizer),
        skip_special_(skip_special),
        first_(!continues),
        leading_spaces_(continues ? 0 : tokenizer.leading_spaces()) {}
  /// What can be said after one more token: valid UTF-8. What can never become a character is U+FFFD, as
  /// Python's decode(errors="replace") has it. Ids out of range throw Error(kData).
  std::string push(int32_t id);
  /// What is left: U+FFFD if the text ended inside a character.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  bool first_;             // nothing came before
  size_t leading_spaces_;  // that may still be dropped
  std::string pending_;    // the beginning of a character
};

/// Each document on its own, in parallel. An error is the one of the first document that has any.
std::vector<std::vector<int32_t>> encode_documents(ThreadPool& pool, const Tokenizer& tokenizer,
                                                   std::span<const std::string_view> documents,
                                                   const EncodeOptions& options = {});

/// 256 ids: the values of the bytes. Any text can be encoded, UTF-8 or not.
std::unique_ptr<Tokenizer> make_byte_tokenizer();
/// One id per Unicode code point that occurs in `text` (valid UTF-8, else Error(kData)), ascending.
std::unique_ptr<Tokenizer> make_character_tokenizer(std::string_view text);
/// The same from the code points themselves, in the order of their ids; none twice.
std::unique_ptr<Tokenizer> make_character_tokenizer(std::vector<char32_t> code_points);
/// Reads tokenizer.json: as written by to_json(), and BPE as Hugging Face writes it, byte-level (GPT-2, Llama 3, Qwen 2
/// …) or of characters with byte_fallback (Llama 2 …), WordPiece (BERT …) and Unigram (T5 …). What it does not know is
/// an Error(kData) that names the element.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path);
/// The same from the text; errors name `origin`.
std::unique_ptr<Tokenizer> parse_tokenizer(std::string text, const std::string& origin);

}  // namespace tsugi
