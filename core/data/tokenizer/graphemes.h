// What a reader takes for one character: extended grapheme clusters (Unicode Standard Annex 29, section 3.1), by a
// table of our own, since token ids must not depend on the versions of libraries.
#pragma once

#include <cstddef>
#include <string_view>

namespace tsugi {

/// The end of the cluster that begins at `begin` < text.size() of valid UTF-8. Clusters of fewer than six bytes are
/// those of the annex; longer ones, which no one here looks at as a whole, may be cut at other places (rules GB9c and
/// GB11).
size_t grapheme_end(std::string_view text, size_t begin);

}  // namespace tsugi
