#include "core/data/tokenizer/unicode_categories.h"

namespace tsugi {
namespace {

constexpr char32_t kCodePoints = 0x110000;

constexpr uint32_t kChanges[] = {
#include "core/data/tokenizer/unicode_categories.inc"
};

/// Calls visit(first, last, name of the category) for each run of code points of one category, ascending.
template <class Visit>
void for_each_run(const Visit& visit) {
  constexpr size_t kCount = std::size(kChanges);
  for (size_t i = 0; i < kCount; ++i) {
    const char32_t next = i + 1 < kCount ? kChanges[i + 1] >> 8 : kCodePoints;
    visit(static_cast<char32_t>(kChanges[i] >> 8), next - 1, kCategoryNames[kChanges[i] & 0xFF]);
  }
}

uint8_t class_of(std::string_view category) {
  const bool common = category == "Lm" || category == "Lo" || category[0] == 'M';
  uint8_t result = 0;
  if (category[0] == 'L') result |= kLetter;
  if (category[0] == 'N') result |= kNumber;
  if (common || category == "Lu" || category == "Lt") result |= kUpperClass;
  if (common || category == "Ll") result |= kLowerClass;
  return result;
}

}  // namespace

CodePointRanges category_ranges(std::string_view name) {
  CodePointRanges ranges;
  for_each_run([&](char32_t first, char32_t last, std::string_view category) {
    if (name.empty() || category.substr(0, name.size()) != name) return;
    if (!ranges.empty() && ranges.back().second + 1 == first) {
      ranges.back().second = last;
    } else {
      ranges.emplace_back(first, last);
    }
  });
  return ranges;
}

CodePointRanges space_ranges() {
  return {{0x9, 0xD},       {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
          {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}};
}

const uint8_t* character_classes() {
  static const std::vector<uint8_t> kTable = [] {
    std::vector<uint8_t> table(kCodePoints);
    for_each_run([&](char32_t first, char32_t last, std::string_view category) {
      const uint8_t value = class_of(category);
      for (char32_t c = first; c <= last; ++c) table[c] = value;
    });
    for (const auto& [first, last] : space_ranges()) {
      for (char32_t c = first; c <= last; ++c) table[c] |= kSpace;
    }
    table['\r'] |= kNewline;
    table['\n'] |= kNewline;
    return table;
  }();
  return kTable.data();
}

}  // namespace tsugi
