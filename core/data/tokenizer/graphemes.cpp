#include "core/data/tokenizer/graphemes.h"

#include <cstdint>
#include <iterator>
#include <vector>

#include "core/data/utf8.h"

namespace tsugi {
namespace {

enum ClusterClass : uint8_t {
  kOther,
  kControl,  ///< alone
  kJoined,   ///< goes on with what stands before it: Extend, ZWJ and SpacingMark
  kPrepend,  ///< what follows goes on with it
  kPicture,  ///< Extended_Pictographic
  kRegional,
  kHangulL,
  kHangulV,
  kHangulT,
  kHangulLv,
  kHangulLvt,
};

struct ClusterRange {
  char32_t first;
  char32_t last;
  ClusterClass value;
};

constexpr ClusterRange kClusterRanges[] = {
#include "core/data/tokenizer/graphemes.inc"
};
// Stable since Unicode 5.2 (HangulSyllableType.txt); LV and LVT, 28 by 28, are told apart in the table.
constexpr ClusterRange kHangulRanges[] = {
    {0x1100, 0x115F, kHangulL}, {0xA960, 0xA97C, kHangulL}, {0x1160, 0x11A7, kHangulV},   {0xD7B0, 0xD7C6, kHangulV},
    {0x11A8, 0x11FF, kHangulT}, {0xD7CB, 0xD7FB, kHangulT}, {0x1F1E6, 0x1F1FF, kRegional}};
constexpr char32_t kFirstSyllable = 0xAC00;
constexpr char32_t kLastSyllable = 0xD7A3;
constexpr char32_t kFinals = 28;  // of a syllable, none included
constexpr char32_t kJoiner = 0x200D;

const std::vector<uint8_t>& cluster_classes() {
  static const std::vector<uint8_t> kTable = [] {
    std::vector<uint8_t> table(0x110000, kOther);
    const auto add = [&](const ClusterRange& range) {
      for (char32_t c = range.first; c <= range.last; ++c) table[c] = range.value;
    };
    for (const ClusterRange& range : kHangulRanges) add(range);
    for (const ClusterRange& range : kClusterRanges) add(range);
    for (char32_t c = kFirstSyllable; c <= kLastSyllable; ++c) {
      table[c] = (c - kFirstSyllable) % kFinals == 0 ? kHangulLv : kHangulLvt;
    }
    table[0] = kControl;
    return table;
  }();
  return kTable;
}

/// Whether two neighbours of these classes are of one cluster, but for rules GB11 to GB13.
bool stay_together(uint8_t before, uint8_t after) {
  if (before == kControl || after == kControl) return false;
  if (after == kJoined || before == kPrepend) return true;
  if (before == kHangulL) return after == kHangulL || after == kHangulV || after == kHangulLv || after == kHangulLvt;
  if (before == kHangulLv || before == kHangulV) return after == kHangulV || after == kHangulT;
  return (before == kHangulLvt || before == kHangulT) && after == kHangulT;
}

}  // namespace

size_t grapheme_end(std::string_view text, size_t begin) {
  const std::vector<uint8_t>& classes = cluster_classes();
  const CodePoint first = code_point_at(text, begin);
  size_t end = begin + static_cast<size_t>(first.bytes);
  if (first.value == '\r' && end < text.size() && text[end] == '\n') return end + 1;
  uint8_t before = classes[first.value];
  bool picture = before == kPicture;  // all since it were marks
  bool joiner = false;                // the last of them the joiner
  bool odd_regional = before == kRegional;
  while (end < text.size()) {
    const CodePoint point = code_point_at(text, end);
    const uint8_t after = classes[point.value];
    const bool together = stay_together(before, after) || (picture && joiner && after == kPicture) ||
                          (odd_regional && before == kRegional && after == kRegional);
    if (!together) break;
    picture = after == kPicture || (picture && after == kJoined);
    joiner = point.value == kJoiner;
    odd_regional = after == kRegional && !(odd_regional && before == kRegional);
    before = after;
    end += static_cast<size_t>(point.bytes);
  }
  return end;
}

}  // namespace tsugi
