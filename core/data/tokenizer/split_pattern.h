// The pre-tokenizer patterns of the published byte-level vocabularies, as scanners of their own: several times faster
// than a regular expression engine, and equal to one (tests/core/data/split_pattern_test.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tsugi {

enum class SplitPattern : uint8_t {
  kGpt2,    ///< ByteLevel's own (GPT-2, RoBERTa, GPT-NeoX)
  kLlama3,  ///< Llama 3, and cl100k of GPT-4 (which is written otherwise)
  kQwen2,   ///< Qwen 2 and 3: Llama 3's with single digits
  kO200k,   ///< GPT-4o
};

/// The regular expression, as tokenizer.json writes it.
std::string_view pattern_regex(SplitPattern pattern);
/// The pattern that a regular expression is, character by character.
std::optional<SplitPattern> known_pattern(std::string_view regex);
/// "gpt2", "llama3", "qwen2", "o200k".
std::string_view pattern_name(SplitPattern pattern);
std::optional<SplitPattern> pattern_of_name(std::string_view name);

/// Where the piece that starts at `begin` ends; begin < end, and [begin, end) is valid UTF-8. Matches of these patterns
/// leave nothing between them, so pieces follow each other. None looks behind.
const char* piece_end(SplitPattern pattern, const char* begin, const char* end);

/// A place at or before `limit` (and after 0) where the text may be cut such that the pieces of the two parts are those
/// of the whole, for every pattern above; 0 when there is none. It is before a space between two other characters that
/// are not white space.
size_t safe_cut(std::string_view text, size_t limit);

}  // namespace tsugi
