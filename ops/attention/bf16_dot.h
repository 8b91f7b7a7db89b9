// Small matrices of bf16 by the dot products of AVX-512 (vdpbf16ps: one f32 sum of the products of two pairs), with
// sums in registers, and the layouts that these products want. Only where has_native_bf16().
//
// A *pair* is the 32-bit word of two neighbours of the inner dimension, the first in its lower half. The left operand
// may lie anywhere, since its pairs are broadcast from memory; the right one is [steps][columns] of pairs, whose
// columns come in whole vectors of kWords.
#pragma once

#include <hwy/base.h>
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "ops/tensor/dtype.h"

HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
namespace tsugi::cpu::bf16_dot {

inline constexpr int64_t kWords = 16;

constexpr int64_t whole_words(int64_t count) { return (count + kWords - 1) & -kWords; }

/// The pair of row i and step k lies i·row + k·step bytes behind `data`, aligned or not.
struct Left {
  const void* data;
  int64_t row;
  int64_t step;
};

/// Words `stride` apart.
template <class T>
struct Words {
  T* data;
  int64_t stride;

  T* row(int64_t index) const { return data + index * stride; }
};

/// c[kRows][16·kVectors] = c·factors (or c, or 0) + a·b. `factors`: one for each column; null: 1.
template <int kRows, int kVectors>
inline void tile(int64_t steps, Left a, Words<const uint32_t> b, bool accumulate, const float* factors,
                 Words<float> c) {
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sums[i][v] = accumulate ? _mm512_loadu_ps(c.row(i) + v * kWords) : _mm512_setzero_ps();
      if (factors != nullptr) sums[i][v] = _mm512_mul_ps(sums[i][v], _mm512_loadu_ps(factors + v * kWords));
    }
  }
  const char* left = static_cast<const char*>(a.data);
  for (int64_t k = 0; k < steps; ++k, left += a.step) {
    __m512bh right[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      right[v] = std::bit_cast<__m512bh>(_mm512_loadu_si512(b.row(k) + v * kWords));
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      int32_t pair;
      std::memcpy(&pair, left + i * a.row, sizeof(pair));
      const auto broadcast = std::bit_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[i][v] = _mm512_dpbf16_ps(sums[i][v], broadcast, right[v]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(c.row(i) + v * kWords, sums[i][v]);
  }
}

inline constexpr int64_t kTileRows = 6;  // by four vectors: 24 sums in the 32 registers

template <int kVectors>
inline void few_rows(int64_t rows, int64_t steps, Left a, Words<const uint32_t> b, bool accumulate,
                     const float* factors, Words<float> c) {
  switch (rows) {
    case 1:
      return tile<1, kVectors>(steps, a, b, accumulate, factors, c);
    case 2:
      return tile<2, kVectors>(steps, a, b, accumulate, factors, c);
    case 3:
      return tile<3, kVectors>(steps, a, b, accumulate, factors, c);
    case 4:
      return tile<4, kVectors>(steps, a, b, accumulate, factors, c);
    case 5:
      return tile<5, kVectors>(steps, a, b, accumulate, factors, c);
    default:
      return tile<6, kVectors>(steps, a, b, accumulate, factors, c);
  }
}

/// The same for any number of rows, and of columns in whole vectors.
inline void product(int64_t rows, int64_t columns, int64_t steps, Left a, Words<const uint32_t> b, bool accumulate,
                    const float* factors, Words<float> c) {
  for (int64_t j = 0; j < columns; j += 4 * kWords) {
    const int64_t vectors = std::min<int64_t>((columns - j) / kWords, 4);
    const Words<const uint32_t> right{b.data + j, b.stride};
    const float* const of_columns = factors == nullptr ? nullptr : factors + j;
    for (int64_t i = 0; i < rows; i += kTileRows) {
      const Left left{static_cast<const char*>(a.data) + i * a.row, a.row, a.step};
      const Words<float> to{c.row(i) + j, c.stride};
      const int64_t count = std::min(rows - i, kTileRows);
      switch (vectors) {
        case 1:
          few_rows<1>(count, steps, left, right, accumulate, of_columns, to);
          break;
        case 2:
          few_rows<2>(count, steps, left, right, accumulate, of_columns, to);
          break;
        case 3:
          few_rows<3>(count, steps, left, right, accumulate, of_columns, to);
          break;
        default:
          few_rows<4>(count, steps, left, right, accumulate, of_columns, to);
      }
    }
  }
}

/// 2^x to about 2e-7, for x ≤ 127; exactly 0 below -200; NaN stays.
inline __m512 exp2(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-200.0f), x);  // of a NaN, the second
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 rest = _mm512_sub_ps(x, whole);
  __m512 p = _mm512_set1_ps(1.327647013e-3f);  // minimax in relative error on [-1/2, 1/2]
  for (const float coefficient : {9.675540961e-3f, 5.550713092e-2f, 2.402212024e-1f, 6.931469440e-1f, 1.0f}) {
    p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(coefficient));
  }
  return _mm512_scalef_ps(p, whole);
}

/// Which 16 bits of two vectors of bf16 (cvtne2ps: first in the upper half) make pairs of their lanes.
inline __m512i interleaving() {
  alignas(64) static constexpr auto kOrder = [] {
    std::array<uint16_t, 32> order{};
    for (uint16_t lane = 0; lane < 16; ++lane) {
      order[2 * lane] = lane;
      order[2 * lane + 1] = lane + 16;
    }
    return order;
  }();
  return _mm512_load_si512(kOrder.data());
}

/// Pairs of the lanes of two vectors, rounded to bf16.
inline __m512i pairs_of(__m512 first, __m512 second) {
  return _mm512_permutexvar_epi16(interleaving(), std::bit_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first)));
}

inline __mmask16 first_lanes(int64_t count) {
  return static_cast<__mmask16>(count >= kWords ? 0xFFFF : (1u << std::max<int64_t>(count, 0)) - 1);
}

/// Rows become columns.
inline void transpose(__m512i (&rows)[16]) {
  __m512i pairs[16], quads[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
    quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
    quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
    quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512i low = _mm512_shuffle_i32x4(quads[i], quads[i + 4], 0x88);
    const __m512i high = _mm512_shuffle_i32x4(quads[i], quads[i + 4], 0xDD);
    const __m512i next_low = _mm512_shuffle_i32x4(quads[i + 8], quads[i + 12], 0x88);
    const __m512i next_high = _mm512_shuffle_i32x4(quads[i + 8], quads[i + 12], 0xDD);
    rows[i] = _mm512_shuffle_i32x4(low, next_low, 0x88);
    rows[i + 8] = _mm512_shuffle_i32x4(low, next_low, 0xDD);
    rows[i + 4] = _mm512_shuffle_i32x4(high, next_high, 0x88);
    rows[i + 12] = _mm512_shuffle_i32x4(high, next_high, 0xDD);
  }
}

/// to[width/2][whole_words(count)] = the pairs along `width` (even) of `count` rows, `stride` elements apart, zeros
/// behind them.
inline void transpose_pairs(const bf16* rows, int64_t stride, int64_t count, int64_t width, Words<uint32_t> to) {
  for (int64_t r = 0; r < count; r += kWords) {
    for (int64_t w = 0; w < width / 2; w += kWords) {
      const int64_t words = std::min(width / 2 - w, kWords);
      __m512i block[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        block[i] = r + i < count ? _mm512_maskz_loadu_epi32(first_lanes(words), rows + (r + i) * stride + 2 * w)
                                 : _mm512_setzero_si512();
      }
      transpose(block);
      for (int64_t i = 0; i < words; ++i) _mm512_storeu_si512(to.row(w + i) + r, block[i]);
    }
  }
}

/// to[⌈count/2⌉][whole_words(width)] = the pairs of neighbouring rows, zeros where there is no element.
inline void join_rows(const bf16* rows, int64_t stride, int64_t count, int64_t width, Words<uint32_t> to) {
  for (int64_t r = 0; r < count; r += 2) {
    const bf16* const row = rows + r * stride;
    for (int64_t w = 0; w < width; w += kWords) {
      const __mmask16 there = first_lanes(width - w);
      const __m512i first = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, row + w));
      __m512i second = _mm512_setzero_si512();
      if (r + 1 < count) second = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, row + stride + w));
      _mm512_storeu_si512(to.row(r / 2) + w, _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
    }
  }
}

/// rows[c][d] = bf16(columns[d][c] · factors[c]) for c < count, d < width; the rows are `stride` apart.
inline void transpose_floats(Words<const float> columns, const float* factors, int64_t count, int64_t width, bf16* rows,
                             int64_t stride) {
  for (int64_t c = 0; c < count; c += kWords) {
    for (int64_t d = 0; d < width; d += kWords) {
      __m512i block[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        block[i] =
            d + i < width ? std::bit_cast<__m512i>(_mm512_loadu_ps(columns.row(d + i) + c)) : _mm512_setzero_si512();
      }
      transpose(block);
      const __mmask16 there = first_lanes(width - d);
      for (int64_t i = 0; i < std::min(count - c, kWords); ++i) {
        const __m512 scaled = _mm512_mul_ps(std::bit_cast<__m512>(block[i]), _mm512_set1_ps(factors[c + i]));
        _mm256_mask_storeu_epi16(rows + (c + i) * stride + d, there,
                                 std::bit_cast<__m256i>(_mm512_cvtneps_pbh(scaled)));
      }
    }
  }
}

}  // namespace tsugi::cpu::bf16_dot
HWY_POP_ATTRIBUTES
