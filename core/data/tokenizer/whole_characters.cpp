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
  const bool beginning = right.size() < length(right[0]) && all_continue(right.substr(1));
  if (!all_continue(left) && !beginning) return;
  uint32_t& least = borders_[border(left.back(), right[0])];
  if (rank < least) least = rank;
}

WholeCharacters::WholeCharacters(const std::vector<BpeMerge>& merges, const int32_t (&byte_tokens)[256],
                                 const std::function<std::string_view(int32_t)>& bytes_of,
                                 const std::function<uint32_t(int32_t, int32_t)>& rank_of)
    : characters_(kCodePoints), borders_(size_t{1} << 16, kNone) {
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const BpeMerge& merge = merges[rank];
    add_border(bytes_of(merge.left), bytes_of(merge.right), static_cast<uint32_t>(rank));
    const std::string_view made = bytes_of(merge.result);
    size_t bytes = 0;
    if (made.size() < 2 || made.size() > 3) continue;
    const uint32_t value = code_point(made, 0, bytes);
    if (value == 0 || bytes != made.size()) continue;
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
    if (symbols.size() == 1) characters_[value] = {symbols[0], greatest};
  }
}

}  // namespace tsugi
