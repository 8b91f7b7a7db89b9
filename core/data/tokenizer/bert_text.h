// Text as BERT's tokenizer takes it: the BertNormalizer and BertPreTokenizer of tokenizer.json (Devlin et al. 2019,
// their code: tokenization.py), with the characters that Hugging Face's tokenizers have them for.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tsugi {

struct BertNormalizer {
  bool clean_text = true;            ///< control characters go, white space becomes spaces
  bool handle_chinese_chars = true;  ///< spaces around CJK ideographs
  bool lowercase = true;
  std::optional<bool> strip_accents = {};  ///< decomposes (NFD) and drops nonspacing marks; nothing: as lowercase

  /// `text` is valid UTF-8.
  std::string apply(std::string_view text) const;
};

/// What BertPreTokenizer leaves out between pieces, and what it makes pieces of by themselves.
bool is_bert_space(char32_t c);
bool is_bert_punctuation(char32_t c);

}  // namespace tsugi
