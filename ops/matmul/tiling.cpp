#include "ops/matmul/tiling.h"

#include <algorithm>

namespace tsugi {
namespace {

constexpr int64_t kTileRows = 256;
constexpr int64_t kTileColumns = 384;
// A multiple of the kernels' register tiles (AVX2: 16 and 24 columns, AVX-512: 48) and of a cache line.
constexpr int64_t kGrain = 48;
// Enough for 16 threads to end at about the same time.
constexpr int64_t kWantedPieces = 32;
// Multiply-adds of a piece: about 10 µs, ten times the cost of handing it out.
constexpr int64_t kLeastWork = int64_t{1} << 19;
constexpr int64_t kLeastChunk = 256;

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// The extent of `parts` nearly equal parts, a multiple of `grain` where there is more than one.
int64_t part_extent(int64_t extent, int64_t parts, int64_t grain) {
  return parts <= 1 ? extent : std::min(extent, ceil_divide(ceil_divide(extent, parts), grain) * grain);
}

}  // namespace

Tiling matmul_tiling(int64_t m, int64_t n, int64_t k) {
  Tiling t;
  t.tile_m = part_extent(m, ceil_divide(m, kTileRows), 16);
  t.tile_n = part_extent(n, ceil_divide(n, kTileColumns), kGrain);
  const auto pieces = [&] { return ceil_divide(m, t.tile_m) * ceil_divide(n, t.tile_n); };
  const auto halves_worthwhile = [&] { return pieces() < kWantedPieces && t.tile_m * t.tile_n * k >= 2 * kLeastWork; };
  while (halves_worthwhile() && (t.tile_m >= 64 || t.tile_n >= 4 * kGrain)) {
    if (t.tile_m >= 128 || t.tile_n < 4 * kGrain) {
      t.tile_m = part_extent(t.tile_m, 2, 16);
    } else {
      t.tile_n = part_extent(t.tile_n, 2, kGrain);
    }
  }
  t.tiles_m = ceil_divide(m, t.tile_m);
  t.tiles_n = ceil_divide(n, t.tile_n);

  const int64_t by_work = t.tile_m * t.tile_n * k / kLeastWork;
  const int64_t wanted = std::min({kWantedPieces / t.tiles(), k / kLeastChunk, by_work});
  t.chunk_k = part_extent(k, wanted, 64);
  t.chunks = ceil_divide(k, t.chunk_k);
  return t;
}

}  // namespace tsugi
