#include "core/data/tokenizer/whole_characters.h"

#include <algorithm>

namespace tsugi {

void WholeCharacters::add_border(std::string_view left, std::string_view right, uint32_t rank) {
  // In text that is UTF-8 no border between characters has a continuation byte behind it.
  if (left.empty() || right.empty() || continues(right[0])) return;
  const auto all_continue = [](std::string_view bytes) {
    for (const char byte : bytes) {
      if (!continues(byte)) return false;
    }
    return true;
  };
  const auto keep_least = [rank](uint32_t& least) { least = std::min(least, rank); };
  if (all_continue(left)) keep_least(endings_[border(left.back(), right[0])]);
  const bool beginning = right.size() < length(right[0]) && all_continue(right.substr(1));
  if (beginning) keep_least(beginnings_[border(right[0], left.back())]);
}

WholeCharacters::WholeCharacters(const std::vector<BpeMerge>& merges, const int32_t (&byte_tokens)[256],
                                 const std::function<std::string_view(int32_t)>& bytes_of,
                                 const std::function<uint32_t(int32_t, int32_t)>& rank_of)
    : characters_(kCodePoints), beginnings_(size_t{1} << 14, kNone), endings_(size_t{1} << 14, kNone) {
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const BpeMerge& merge = merges[rank];
    add_border(bytes_of(merge.left), bytes_of(merge.right), static_cast<uint32_t>(rank));
    const std::string_view made = bytes_of(merge.result);
    if (made.size() < 2 || made.size() > 3) continue;
    const CodePoint character = code_point_at(made, 0);
    if (static_cast<size_t>(character.bytes) != made.size()) continue;
    // What its bytes become when they are alone.
    std::vector<int32_t> symbols;
    for (const char byte : made) symbols.push_back(byte_tokens[static_cast<uint8_t>(byte)]);
    uint32_t greatest = 0;
    while (symbols.size() > 1) {
      size_t best = 0;
      uint32_t least = kNone;
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        const uint32_t found = rank_of(symbols[i], symbols[i + 1]);
        if (found >= least) continue;
        least = found;
        best = i;
      }
      if (least == kNone) break;
      greatest = std::max(greatest, least);
      symbols[best] = merges[least].result;
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    if (symbols.size() == 1) characters_[character.value] = {symbols[0], greatest};
  }
}

}  // namespace tsugi
