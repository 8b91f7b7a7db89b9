// Which keys the queries of a tile see.
#pragma once

#include "ops/attention/attention_cuda.h"
#include "ops/cuda/device.cuh"

namespace tsugi::cuda {

/// A query sees the keys [first, end).
struct KeyRange {
  int first;
  int end;
};

/// Empty (first > end of any other) beyond the last query.
TSUGI_DEVICE KeyRange keys_of(const DeviceAttentionShape& s, int batch, int query) {
  KeyRange range{0, s.key_tokens};
  const KeyRange none{0x7FFFFFFF, 0};
  if (query >= s.query_tokens) return none;
  const int diagonal = query + s.key_tokens - s.query_tokens;
  if (s.causal && diagonal + 1 < range.end) range.end = diagonal + 1;
  if (s.window > 0) {
    if (diagonal - s.window + 1 > range.first) range.first = diagonal - s.window + 1;
    if (diagonal + s.window < range.end) range.end = diagonal + s.window;
  }
  const int64_t row = static_cast<int64_t>(batch) * s.query_tokens + query;
  if (s.first_key != nullptr) {
    const int first = dev::load(s.first_key + row);
    if (first > range.first) range.first = first;
  }
  if (s.end_key != nullptr) {
    const int end = dev::load(s.end_key + row);
    if (end < range.end) range.end = end;
  }
  return range.first < range.end ? range : none;
}

/// What the queries of a tile see together: some query sees keys in [first, end) only, and all see [all_first,
/// all_end). Queries beyond the last one do not count.
struct alignas(16) TileRange {  // one load
  int first = 0x7FFFFFFF;
  int end = 0;
  int all_first = 0;
  int all_end = 0x7FFFFFFF;

  TSUGI_DEVICE bool overlaps(int begin, int stop) const { return first < stop && begin < end; }
  TSUGI_DEVICE bool whole(int begin, int stop) const { return all_first <= begin && stop <= all_end; }

  TSUGI_DEVICE void add(const TileRange& other) {
    first = first < other.first ? first : other.first;
    end = end > other.end ? end : other.end;
    all_first = all_first > other.all_first ? all_first : other.all_first;
    all_end = all_end < other.all_end ? all_end : other.all_end;
  }
};

/// Of all lanes' together.
TSUGI_DEVICE TileRange warp_range(TileRange range) {
  for (int mask = 16; mask > 0; mask /= 2) {
    range.add({dev::shuffle_xor(range.first, mask), dev::shuffle_xor(range.end, mask),
               dev::shuffle_xor(range.all_first, mask), dev::shuffle_xor(range.all_end, mask)});
  }
  return range;
}

inline unsigned tiles_of(int tokens, int size) { return static_cast<unsigned>((tokens + size - 1) / size); }

}  // namespace tsugi::cuda
