// Unicode's general categories, version 16, as tables of our own: token ids must be the same on every machine, whatever
// the versions of its libraries, and the same as Hugging Face's (whose regex engine has this version).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace tsugi {

/// In the order of tests/golden/make_unicode_categories.py.
inline constexpr std::array<std::string_view, 30> kCategoryNames = {
    "Cn", "Cc", "Cf", "Co", "Cs", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl",
    "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp"};

using CodePointRanges = std::vector<std::pair<char32_t, char32_t>>;  ///< first and last, ascending, not touching

/// The code points of a category ("Lu") or of a class of categories ("L"); empty for an unknown name.
CodePointRanges category_ranges(std::string_view name);
/// White_Space, what `\s` matches: 25 code points; not U+180E, not U+200B.
CodePointRanges space_ranges();

/// What pre-tokenizers ask of a character.
enum CharacterClass : uint8_t {
  kLetter = 1,       ///< \p{L}
  kNumber = 2,       ///< \p{N}
  kSpace = 4,        ///< \s
  kNewline = 8,      ///< \r or \n
  kUpperClass = 16,  ///< [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
  kLowerClass = 32,  ///< [\p{Ll}\p{Lm}\p{Lo}\p{M}]
};
/// By code point, 0x110000 entries.
const uint8_t* character_classes();

}  // namespace tsugi
