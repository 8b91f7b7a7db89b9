// The orders of tiles that a jigsaw puzzle is made of.
#pragma once

#include <cstdint>
#include <vector>

namespace tsugi {

/// `count` permutations of 0 … length - 1 that are far from each other in Hamming distance, the first one the identity:
/// each next one has the largest sum of distances to those before it (Noroozi and Favaro, "Unsupervised learning of
/// visual representations by solving jigsaw puzzles", 2016, algorithm 1), among equals the largest smallest distance,
/// and then the first in lexicographic order: no random numbers. Of 9 places 100 permutations are 8.08 apart on
/// average, which is as far as 100 can be. 2 <= length <= 9, count <= length!.
std::vector<std::vector<uint8_t>> distant_permutations(int64_t length, int64_t count);

}  // namespace tsugi
