// Tokens that are found in the text before it is split: the "added_tokens" of tokenizer.json.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace tsugi {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;  ///< only where no word character touches it
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< takes the white space behind it
  bool normalized = false;   ///< found in the normalized text, not in the original one
  bool special = false;      ///< has a meaning of its own: not text
};

/// Finds a set of added tokens in a text: from left to right the longest one at each place, as Hugging Face's
/// AddedVocabulary does.
class AddedTokenFinder {
 public:
  AddedTokenFinder() = default;
  /// No content is empty, none occurs twice.
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }

  /// Calls text(piece) and token(id) in order of appearance. With `skip_special` special tokens are ordinary text.
  void find(std::string_view text, bool skip_special, const std::function<void(std::string_view)>& on_text,
            const std::function<void(int32_t)>& on_token) const;

 private:
  /// The longest token at `at`, or nullptr.
  const AddedToken* longest_at(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;  // ascending by content
  std::array<bool, 256> first_{};   // bytes that tokens begin with
};

}  // namespace tsugi
