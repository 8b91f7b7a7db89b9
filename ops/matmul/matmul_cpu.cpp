#include <algorithm>
#include <type_traits>

#include "ops/matmul/matmul.h"
#include "ops/matmul/matmul_internal.h"
#include "ops/matmul/onednn_gemm.h"
#include "ops/matmul/pack.h"

namespace tsugi {
namespace cpu {
namespace {

/// A block of the output and of the sum over k.
struct Block {
  int64_t row, column, first_k;
  int64_t rows, columns, count_k;
};

Block block_of(const Tiling& t, int64_t m, int64_t n, int64_t k, int64_t tile, int64_t chunk) {
  Block b{tile / t.tiles_n * t.tile_m, tile % t.tiles_n * t.tile_n, chunk * t.chunk_k, 0, 0, 0};
  b.rows = std::min(t.tile_m, m - b.row);
  b.columns = std::min(t.tile_n, n - b.column);
  b.count_k = std::min(t.chunk_k, k - b.first_k);
  return b;
}

/// Depth of the operand panels that are packed for one call of the kernel: two of them and a tile fit the second cache.
constexpr int64_t kPanelDepth = 384;

/// Whether the kernels get an f32 copy of a panel of a, in rows, instead of the stored operand.
template <class T>
bool packs_a(const Product<T>& p, const Tiling& t) {
  if constexpr (std::is_same_v<T, bf16>) {
    return !bf16_gemm_is_native();
  } else {
    // For tiles that are not large oneDNN reads a where it lies: down its columns, each number from another line, from
    // another page if a is wide, and into few sets of the cache at strides of powers of two. Up to twice as slow.
    return p.transpose_a && (p.lda() > 256 || p.lda() % 128 == 0) && !t.is_large();
  }
}

/// The same for b. Rows that are multiples of 2048 bytes apart fall into few sets of the cache: up to twice as slow.
template <class T>
bool packs_b(const Product<T>& p, const Tiling& t) {
  if constexpr (std::is_same_v<T, bf16>) {
    return !bf16_gemm_is_native();
  } else {
    return !p.transpose_b && p.ldb() % 512 == 0 && t.tile_m >= 32 && !t.is_large();
  }
}

template <class T>
size_t panel_bytes(const Product<T>& p, const Tiling& t) {
  const int64_t depth = std::min(kPanelDepth, t.chunk_k);
  return static_cast<size_t>((packs_a(p, t) ? t.tile_m * depth : 0) + (packs_b(p, t) ? t.tile_n * depth : 0)) *
         sizeof(float);
}

/// The operand as the kernel takes it unpacked; bf16 is always packed.
const float* as_f32(const float* x) { return x; }
const float* as_f32(const bf16*) { return nullptr; }

/// c (+)= the block's product. `panels` has panel_bytes().
template <class T>
void block_product(const Product<T>& p, const Tiling& t, const Block& block, float* c, int64_t ldc, bool accumulate,
                   float* panels) {
  const bool pack_a = packs_a(p, t);
  const bool pack_b = packs_b(p, t);
  GemmShape shape{.m = block.rows,
                  .n = block.columns,
                  .k = block.count_k,
                  .lda = p.lda(),
                  .ldb = p.ldb(),
                  .ldc = ldc,
                  .transpose_a = p.transpose_a,
                  .transpose_b = p.transpose_b,
                  .accumulate = accumulate};
  if (!pack_a && !pack_b) {
    const T* a = p.a_at(block.row, block.first_k);
    const T* b = p.b_at(block.first_k, block.column);
    if constexpr (std::is_same_v<T, float>) {
      gemm_f32(shape, a, b, c);
    } else {
      gemm_primitive(shape, a, b, c);
    }
    return;
  }
  for (int64_t done = 0; done < block.count_k; done += kPanelDepth) {
    shape.k = std::min(kPanelDepth, block.count_k - done);
    shape.accumulate = accumulate || done > 0;
    const T* a = p.a_at(block.row, block.first_k + done);
    const T* b = p.b_at(block.first_k + done, block.column);
    const float* kernel_a = as_f32(a);
    const float* kernel_b = as_f32(b);
    float* panel = panels;
    if (pack_a) {
      if (p.transpose_a) {
        widen_transposed(a, p.lda(), shape.k, shape.m, panel, shape.k);
      } else {
        widen_rows(a, p.lda(), shape.m, shape.k, panel);
      }
      shape.transpose_a = false;
      shape.lda = shape.k;
      kernel_a = panel;
      panel += shape.m * shape.k;
    }
    if (pack_b) {
      const int64_t rows = p.transpose_b ? shape.n : shape.k;
      const int64_t columns = p.transpose_b ? shape.k : shape.n;
      widen_rows(b, p.ldb(), rows, columns, panel);
      shape.ldb = columns;
      kernel_b = panel;
    }
    gemm_f32(shape, kernel_a, kernel_b, c);
  }
}

template <class T, class Out>
void whole_k_product(ThreadPool& pool, const Product<T>& p, const Epilogue<T, Out>& epilogue, const Tiling& t) {
  float* in_place = epilogue.in_place();
  const size_t panels = panel_bytes(p, t);
  const size_t tile = in_place != nullptr ? 0 : static_cast<size_t>(t.tile_m * t.tile_n) * sizeof(float);
  pool.for_each(t.tiles(), [&](int64_t index, int worker) {
    const Block block = block_of(t, p.m, p.n, p.k, index, 0);
    float* scratch = panels + tile > 0 ? static_cast<float*>(pool.scratch(worker, panels + tile)) : nullptr;
    if (in_place != nullptr) {
      float* c = in_place + block.row * p.n + block.column;
      block_product(p, t, block, c, p.n, epilogue.accumulate, scratch);
      if (!epilogue.is_done_in_place()) epilogue.finish(c, p.n, block.row, block.column, block.rows, block.columns);
    } else {
      float* c = scratch + panels / sizeof(float);
      block_product(p, t, block, c, block.columns, false, scratch);
      epilogue.finish(c, block.columns, block.row, block.column, block.rows, block.columns);
    }
  });
}

/// `partial` [chunks, m, n] receives the chunks' sums, which are then added in order.
template <class T, class Out>
void chunked_k_product(ThreadPool& pool, const Product<T>& p, const Epilogue<T, Out>& epilogue, const Tiling& t,
                       float* partial) {
  const size_t panels = panel_bytes(p, t);
  pool.for_each(t.tiles() * t.chunks, [&](int64_t index, int worker) {
    const int64_t chunk = index % t.chunks;
    const Block block = block_of(t, p.m, p.n, p.k, index / t.chunks, chunk);
    float* scratch = panels > 0 ? static_cast<float*>(pool.scratch(worker, panels)) : nullptr;
    block_product(p, t, block, partial + (chunk * p.m + block.row) * p.n + block.column, p.n, false, scratch);
  });
  constexpr int64_t kRows = 16;
  const int64_t strips = (p.m + kRows - 1) / kRows;
  pool.for_each(strips * t.tiles_n, [&](int64_t index, int) {
    const int64_t row = index / t.tiles_n * kRows;
    const int64_t column = index % t.tiles_n * t.tile_n;
    const int64_t rows = std::min(kRows, p.m - row);
    const int64_t columns = std::min(t.tile_n, p.n - column);
    for (int64_t i = row; i < row + rows; ++i) {
      float* sum = partial + i * p.n + column;
      for (int64_t chunk = 1; chunk < t.chunks; ++chunk) {
        const float* next = sum + chunk * p.m * p.n;
#pragma omp simd
        for (int64_t j = 0; j < columns; ++j) sum[j] += next[j];
      }
    }
    epilogue.finish(partial + row * p.n + column, p.n, row, column, rows, columns);
  });
}

}  // namespace

template <class T, class Out>
void product(ThreadPool& pool, const Product<T>& p, const Epilogue<T, Out>& epilogue, const Tiling& tiling,
             float* partial) {
  if (is_few_rows(p.m, p.transpose_a)) {
    few_rows_product(pool, p, epilogue, partial);
  } else if (tiling.chunks == 1) {
    whole_k_product(pool, p, epilogue, tiling);
  } else {
    chunked_k_product(pool, p, epilogue, tiling, partial);
  }
}

template void product(ThreadPool&, const Product<float>&, const Epilogue<float, float>&, const Tiling&, float*);
template void product(ThreadPool&, const Product<bf16>&, const Epilogue<bf16, float>&, const Tiling&, float*);
template void product(ThreadPool&, const Product<bf16>&, const Epilogue<bf16, bf16>&, const Tiling&, float*);

}  // namespace cpu

const char* matmul_bf16_path() { return bf16_gemm_is_native() ? "native" : "f32"; }

}  // namespace tsugi
