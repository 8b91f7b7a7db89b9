// Vocabularies of characters that spell a character they lack by its bytes: SentencePiece's BPE with byte_fallback, as
// Llama 2, Mistral and Gemma have it in tokenizer.json.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/data/json.h"
#include "core/data/tokenizer/normalizer.h"

namespace tsugi {

/// The name of a byte's token: "<0x0A>".
std::string fallback_name(uint8_t byte);
/// The byte of such a name, in capital or small digits.
std::optional<uint8_t> fallback_byte(std::string_view name);

/// What ids are turned to text by: the "decoder" of tokenizer.json.
class FallbackDecoder {
 public:
  /// Sequence of any number of Replace, then ByteFallback, then Fuse, then at most one Strip of spaces at the start.
  /// Anything else is an Error(kData) that names it.
  explicit FallbackDecoder(const JsonValue& element);

  /// The bytes of one token.
  std::string apply(std::string_view token) const;
  /// How many spaces a text loses at its start at most: the one that the normalizer put there.
  size_t leading_spaces() const { return leading_spaces_; }

 private:
  std::vector<Normalizer> replacements_;
  size_t leading_spaces_ = 0;
};

}  // namespace tsugi
