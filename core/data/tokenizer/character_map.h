// SentencePiece's normalization rules as its model files hold them: the "precompiled_charsmap" of the normalizer
// Precompiled (T5, XLM-R, ALBERT …), a double array of what is to be replaced and the texts that replace it.
//
//   u32  bytes of the array       u32 … its units (darts-clone: darts.h, DoubleArrayUnit)       texts, each ended by a
//   zero
//
// All numbers are little-endian.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tsugi {

class CharacterMap {
 public:
  /// `base64` as in tokenizer.json. Throws Error(kData) with the reason alone.
  explicit CharacterMap(std::string_view base64);

  /// As Hugging Face's Precompiled has it: a grapheme cluster of fewer than six bytes becomes the text of the shortest
  /// rule that it begins with, and what of it stands behind is dropped; without such a rule, and in longer clusters,
  /// each character is looked for alone. `text` is valid UTF-8. Throws Error(kData) where a rule leads out of the map.
  std::string apply(std::string_view text) const;

 private:
  /// The text of the shortest rule that `text` begins with.
  std::optional<std::string_view> find(std::string_view text) const;
  uint32_t unit(size_t at) const;

  std::vector<uint32_t> units_;
  std::string texts_;
  std::array<std::optional<std::string>, 128> ascii_;  ///< of characters that stand alone
};

}  // namespace tsugi
