// Where merging can be done in parts: borders between characters that no token reaches across.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "core/data/tokenizer/whole_characters.h"

namespace tsugi {

/// The pairs of characters that stand at the seam of some merge: the last of its left side, the first of its right.
/// Where merging starts from two characters as whole that are not such a pair, no merge ever joins what is left of the
/// border with what is right of it, so both may be encoded apart. Long pieces, sentences of Japanese, or whole texts
/// where a vocabulary has no pre-tokenizer, fall into words, which are met again and again.
class CharacterPairs {
 public:
  CharacterPairs() = default;
  CharacterPairs(const std::vector<BpeMerge>& merges, const std::function<std::string_view(int32_t)>& text_of);

  /// Never false for a pair that there is; true for about one of thirty that there is not.
  bool may_join(char32_t left, char32_t right) const {
    const uint64_t bit = hash(left, right) & mask_;
    return (bits_[bit / 64] >> (bit % 64) & 1) != 0;
  }

 private:
  static uint64_t hash(char32_t left, char32_t right) {
    const uint64_t product = (uint64_t{left} << 21 | right) * 0x9E3779B97F4A7C15u;
    return product >> 32;
  }

  std::vector<uint64_t> bits_ = {0};
  uint64_t mask_ = 63;
};

}  // namespace tsugi
