#include "core/data/tokenizer/character_pairs.h"

#include <algorithm>
#include <bit>

#include "core/data/utf8.h"

namespace tsugi {
namespace {

constexpr uint64_t kBitsPerPair = 32;

/// The last character of a token, however it begins; 0 bytes: it ends in a part of one.
CodePoint last_character(std::string_view text) {
  for (size_t bytes = 1; bytes <= std::min<size_t>(4, text.size()); ++bytes) {
    const CodePoint point = code_point_at(text, text.size() - bytes);
    if (static_cast<size_t>(point.bytes) == bytes) return point;
  }
  return {};
}

}  // namespace

CharacterPairs::CharacterPairs(const std::vector<BpeMerge>& merges,
                               const std::function<std::string_view(int32_t)>& text_of) {
  std::vector<uint64_t> pairs;
  for (const BpeMerge& merge : merges) {
    const std::string_view left = text_of(merge.left), right = text_of(merge.right);
    if (left.empty() || right.empty()) continue;
    const CodePoint before = last_character(left), after = code_point_at(right, 0);
    if (before.bytes > 0 && after.bytes > 0) pairs.push_back(hash(before.value, after.value));
  }
  std::ranges::sort(pairs);
  pairs.erase(std::ranges::unique(pairs).begin(), pairs.end());
  const uint64_t size = std::bit_ceil(std::max<uint64_t>(64, kBitsPerPair * pairs.size()));
  bits_.assign(size / 64, 0);
  mask_ = size - 1;
  for (const uint64_t pair : pairs) bits_[(pair & mask_) / 64] |= uint64_t{1} << (pair & mask_) % 64;
}

}  // namespace tsugi
