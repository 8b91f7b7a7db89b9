#include "ops/matmul/tiling.h"

#include <algorithm>

namespace tsugi {
namespace {

// oneDNN packs its operands, and is 10 to 15 % faster, for products at least this large.
constexpr int64_t kLargeRows = 512;
constexpr int64_t kLargeColumns = kMostTileColumns / 2;
constexpr int64_t kRows = 256;
constexpr int64_t kColumns = 384;
constexpr int64_t kLeastRows = 32;
constexpr int64_t kLeastColumns = 48;
// A multiple of the kernels' register tiles (AVX2: 16 and 24 columns, AVX-512: 48) and of a cache line.
constexpr int64_t kColumnGrain = 48;
constexpr int64_t kRowGrain = 16;
constexpr int64_t kWantedPieces = 16;
// Multiply-adds of a piece: about 10 µs, ten times the cost of handing it out.
constexpr int64_t kLeastWork = int64_t{1} << 19;
// Writing and adding a partial sum costs as much as some 30 multiply-adds.
constexpr int64_t kLeastChunk = 512;

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// The extent of `parts` nearly equal parts, a multiple of `grain` where there is more than one.
int64_t part_extent(int64_t extent, int64_t parts, int64_t grain) {
  return parts <= 1 ? extent : std::min(extent, ceil_divide(ceil_divide(extent, parts), grain) * grain);
}

}  // namespace

// Its rule in 2.6 (nocopy_checker of src/cpu/x64/gemm/gemm_driver.cpp). Where another version has another rule, this
// costs time, not results.
bool Tiling::is_large() const { return 1.0 / static_cast<double>(tile_m) + 1.0 / static_cast<double>(tile_n) < 0.0038; }

Tiling matmul_tiling(int64_t m, int64_t n, int64_t k) {
  Tiling t;
  const auto pieces = [&] { return ceil_divide(m, t.tile_m) * ceil_divide(n, t.tile_n); };
  const auto cut = [&](int64_t parts_m, int64_t parts_n) {
    t.tile_m = part_extent(m, parts_m, kRowGrain);
    t.tile_n = part_extent(n, parts_n, kColumnGrain);
  };
  const auto halve = [&](int64_t least_rows, int64_t least_columns) {
    while (pieces() < kWantedPieces && t.tile_m * t.tile_n * k >= 2 * kLeastWork) {
      const bool rows = t.tile_m >= 2 * least_rows;
      const bool columns = t.tile_n >= 2 * least_columns;
      if (!rows && !columns) break;
      if (rows && (!columns || t.tile_m * 3 >= t.tile_n * 2)) {
        t.tile_m = part_extent(t.tile_m, 2, kRowGrain);
      } else {
        t.tile_n = part_extent(t.tile_n, 2, kColumnGrain);
      }
    }
  };

  cut(m / kLargeRows, n / kLargeColumns);
  if (pieces() < kWantedPieces) {
    cut(ceil_divide(m, kRows), ceil_divide(n, kColumns));
    halve(kRows / 2, kColumns / 2);
  }
  const int64_t by_work = t.tile_m * t.tile_n * k / kLeastWork;
  t.chunk_k = part_extent(k, std::min({ceil_divide(kWantedPieces, pieces()), k / kLeastChunk, by_work}), 64);
  t.chunks = ceil_divide(k, t.chunk_k);
  if (t.chunks == 1) halve(kLeastRows, kLeastColumns);
  t.tiles_m = ceil_divide(m, t.tile_m);
  t.tiles_n = ceil_divide(n, t.tile_n);
  return t;
}

}  // namespace tsugi
