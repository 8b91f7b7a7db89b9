// What the native passes of attention in bf16 share: pairs of blocks, and which keys of a block each query sees.
//
// Scores are formed as [keys, queries]: a query is a lane, so that the softmax needs no sums across lanes, keys and
// values are broadcast from where they lie, and what comes out of the softmax is the right operand of the next product.
#pragma once

#include <array>
#include <numbers>

#include "ops/attention/attention_tiles.h"
#include "ops/attention/bf16_dot.h"

namespace tsugi::cpu {

/// Keys of a block: its scores, with kQueryTile queries, fit into half of a first-level cache.
inline constexpr int64_t kKeyBlock = 64;

/// Block j of the keys that a query tile sees: it begins at an even key.
inline Range key_block(Range visible, int64_t j) {
  const int64_t begin = std::max(j * kKeyBlock, visible.begin & -2);
  return {begin, std::max(begin, std::min((j + 1) * kKeyBlock, visible.end))};
}

/// Queries of a tile in lanes, and the keys of a block that each sees.
struct BlockMask {
  BlockMask(const AttentionShape& shape, int64_t batch, Range queries, Range keys) {
    for (int64_t r = 0; r < queries.size(); ++r) {
      const Range seen = seen_of(shape, batch, queries.begin + r, keys);
      begin[static_cast<size_t>(r)] = static_cast<int32_t>(seen.begin);
      end[static_cast<size_t>(r)] = static_cast<int32_t>(seen.end);
      whole = whole && seen.size() == keys.size();
    }
  }

  alignas(64) std::array<int32_t, kQueryTile> begin{};
  alignas(64) std::array<int32_t, kQueryTile> end{};
  bool whole = true;  ///< every query sees every key
};

/// log₂ e, and its inverse: exponentials are powers of two here.
inline constexpr float kLog2E = std::numbers::log2e_v<float>;
inline constexpr float kLn2 = std::numbers::ln2_v<float>;

}  // namespace tsugi::cpu

HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
namespace tsugi::cpu {

/// Which queries of vector `v` see key `key` of the block.
inline __mmask16 seeing(const BlockMask& mask, int64_t v, int64_t key) {
  const __m512i index = _mm512_set1_epi32(static_cast<int32_t>(key));
  const auto at = static_cast<size_t>(v * bf16_dot::kWords);
  const __mmask16 begun = _mm512_cmple_epi32_mask(_mm512_load_si512(&mask.begin[at]), index);
  return _mm512_mask_cmplt_epi32_mask(begun, index, _mm512_load_si512(&mask.end[at]));
}

}  // namespace tsugi::cpu
HWY_POP_ATTRIBUTES
