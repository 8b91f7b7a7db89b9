// How a product is cut into pieces: a function of its sizes alone, so that no result depends on the number of threads.
#pragma once

#include <cstdint>

namespace tsugi {

/// Output tiles of tile_m × tile_n; the sum over K is cut into chunks of chunk_k that are added in order.
struct Tiling {
  int64_t tile_m = 0, tile_n = 0, chunk_k = 0;
  int64_t tiles_m = 0, tiles_n = 0, chunks = 0;

  int64_t tiles() const { return tiles_m * tiles_n; }
  /// Whether the tiles are so large that oneDNN packs the operands by itself.
  bool is_large() const;
};

/// Tiles as large as the caches of a core like them, smaller where there would be too few to keep the cores of a rank
/// busy, never so small that handing them out costs more than computing them. Only outputs too small for that even so,
/// such as the weight gradients of narrow models, have their K cut.
Tiling matmul_tiling(int64_t m, int64_t n, int64_t k);

inline constexpr int64_t kMostTileColumns = 1536;

}  // namespace tsugi
