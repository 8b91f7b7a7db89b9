// Characters that merging may start from, instead of from their bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "core/data/utf8.h"

namespace tsugi {

/// The tokens `left` and `right` are joined to `result`; its rank is its place in the list of merges.
struct BpeMerge {
  int32_t left = 0;
  int32_t right = 0;
  int32_t result = 0;
};

/// Byte-pair encoding joins the bytes of a character before anything else happens to them, if every merge that does so
/// is of lower rank than every merge that could join a part of the character with what is beside it. For until the
/// character is whole, there is always one of the former to be done, which comes before the latter; and the result does
/// not depend on when merges are done that have no symbol in common. So the character may be taken as whole from the
/// start. In Japanese text that is nine of ten characters, and two thirds of all merging.
///
/// A merge that joins a part of a character with what is before it has a right side that is a character's beginning;
/// one that joins a part with what is behind has a left side of continuation bytes alone. The least rank of both is
/// kept by the bytes at the border.
///
/// Texts are valid UTF-8, or hold no character of it.
class WholeCharacters {
 public:
  WholeCharacters() = default;
  /// `bytes_of(id)` are the bytes of a token; `rank_of(left, right)` is the rank of a pair, kNone if it has none;
  /// `byte_tokens[b]` is the token of a byte, or -1.
  WholeCharacters(const std::vector<BpeMerge>& merges, const int32_t (&byte_tokens)[256],
                  const std::function<std::string_view(int32_t)>& bytes_of,
                  const std::function<uint32_t(int32_t, int32_t)>& rank_of);

  static constexpr uint32_t kNone = ~uint32_t{0};

  struct Found {
    CodePoint character;  ///< what stands there; of 0 bytes: no character
    int32_t token = -1;   ///< the character's, if it may be taken as whole in this piece
  };
  /// What stands at piece[at], a byte of 0x80 or more.
  Found at(std::string_view piece, size_t at) const;

  /// Whether a merge could join a part of a character with what is on the other side of the border between these two
  /// bytes, when neither character is whole from the start but those that are said to be.
  bool parts_may_join(char left, char right, bool left_whole, bool right_whole) const {
    return (!left_whole && least(endings_, left, right) != kNone) ||
           (!right_whole && least(beginnings_, right, left) != kNone);
  }

 private:
  struct Character {
    int32_t token = -1;
    uint32_t rank = 0;  ///< the greatest of those that make it
  };
  static constexpr size_t kCodePoints = 0x10000;
  static bool continues(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }
  /// Of a character that starts with this byte; 1 for what starts none of two to four.
  static size_t length(char first);
  /// `six_bits`: a byte of which the two highest bits are the same in the whole table.
  static size_t border(char six_bits, char other) {
    return (static_cast<size_t>(static_cast<uint8_t>(six_bits)) & 0x3F) << 8 | static_cast<uint8_t>(other);
  }
  static uint32_t least(const std::vector<uint32_t>& ranks, char six_bits, char other) {
    return ranks[border(six_bits, other)];
  }
  void add_border(std::string_view left, std::string_view right, uint32_t rank);

  std::vector<Character> characters_;  // by code point
  std::vector<uint32_t>
      beginnings_;                 // of merges whose right side is a beginning: by its first byte, and the one before
  std::vector<uint32_t> endings_;  // of merges of continuation bytes: by the last of them, and the one behind
};

inline size_t WholeCharacters::length(char first) {
  const auto byte = static_cast<uint8_t>(first);
  return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

inline WholeCharacters::Found WholeCharacters::at(std::string_view piece, size_t at) const {
  const CodePoint character = code_point_at(piece, at);
  if (character.bytes != 2 && character.bytes != 3) return {character};
  const Character known = characters_[character.value];
  if (known.token < 0) return {character};
  const size_t end = at + static_cast<size_t>(character.bytes);
  if (at > 0 && least(beginnings_, piece[at], piece[at - 1]) <= known.rank) return {character};
  if (end < piece.size() && least(endings_, piece[end - 1], piece[end]) <= known.rank) return {character};
  return {character, known.token};
}

}  // namespace tsugi
