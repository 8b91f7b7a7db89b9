// Text ↔ token ids. The file form is Hugging Face's tokenizer.json, so that a checkpoint folder is theirs too.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tsugi {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual int64_t vocabulary() const = 0;
  /// Throws Error(kData) when the text has a symbol that the vocabulary lacks or is not UTF-8 where it must be, naming
  /// the symbol and its byte offset.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  /// Ids out of range throw Error(kData).
  virtual std::string decode(const std::vector<int32_t>& ids) const = 0;
  /// The text of tokenizer.json; transformers' PreTrainedTokenizerFast reads it and gives the same ids.
  virtual std::string to_json() const = 0;
};

/// 256 ids: the values of the bytes. Any text can be encoded, UTF-8 or not.
std::unique_ptr<Tokenizer> make_byte_tokenizer();
/// One id per Unicode code point that occurs in `text` (valid UTF-8, else Error(kData)), ascending.
std::unique_ptr<Tokenizer> make_character_tokenizer(std::string_view text);
/// The same from the code points themselves, in the order of their ids; none twice.
std::unique_ptr<Tokenizer> make_character_tokenizer(std::vector<char32_t> code_points);
/// Reads tokenizer.json as written by to_json(); what it does not know is an Error(kData) that names the element.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path);

}  // namespace tsugi
