// "Did you mean …?": the nearest of some names to what a user wrote.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace tsugi {

/// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`, each at most once per place
/// (optimal string alignment).
int edit_distance(std::string_view a, std::string_view b);

/// The candidate with the smallest edit distance to `name`, capitals not counting, the first of equals; "" when even
/// that is farther than a third of the longer name: a guess that far off would mislead.
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

}  // namespace tsugi
