// The factors of inverted dropout for a run of elements, several Philox blocks at a time.
#pragma once

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "ops/tensor/context.h"

namespace tsugi {
namespace philox_lanes {

/// Four 32-bit numbers, each in the low half of 64 bits; the high halves hold anything. Compilers pay for widening
/// products of packed 32-bit numbers with shuffles that cost more than the products.
using Lanes = uint64_t __attribute__((vector_size(32)));

/// out = a · factor, 64 bits wide. (By reference: without AVX such vectors have no agreed way to be passed by value.)
inline void multiply(const Lanes& a, uint32_t factor, Lanes& out) {
#ifdef __AVX2__
  out = reinterpret_cast<Lanes>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), _mm256_set1_epi64x(factor)));
#else
  out = (a & 0xFFFFFFFFu) * factor;
#endif
}

inline constexpr int kVectors = 2;                   // side by side, to hide the latency of the products
inline constexpr int64_t kElements = 16 * kVectors;  // random words made at a time

/// Words [first, first + kElements) of the stream; `first` is a multiple of 4.
inline void words(const RandomStream& stream, int64_t first, uint32_t* out) {
  Lanes c0[kVectors], c1[kVectors], c2[kVectors], c3[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    c0[v] = static_cast<uint64_t>(first / 4 + 4 * v) + Lanes{0, 1, 2, 3};
    c1[v] = Lanes{} + stream.site;
    c2[v] = Lanes{} + stream.sample;
    c3[v] = Lanes{} + (stream.sample >> 32);
  }
  uint32_t k0 = static_cast<uint32_t>(stream.seed);
  uint32_t k1 = static_cast<uint32_t>(stream.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int v = 0; v < kVectors; ++v) {
      Lanes p0, p1;
      multiply(c0[v], 0xD2511F53u, p0);
      multiply(c2[v], 0xCD9E8D57u, p1);
      c0[v] = (p1 >> 32) ^ c1[v] ^ k0;
      c1[v] = p1;
      c2[v] = (p0 >> 32) ^ c3[v] ^ k1;
      c3[v] = p0;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int v = 0; v < kVectors; ++v) {
    const Lanes a = (c0[v] & 0xFFFFFFFFu) | (c1[v] << 32);
    const Lanes b = (c2[v] & 0xFFFFFFFFu) | (c3[v] << 32);
    const Lanes blocks[2] = {__builtin_shufflevector(a, b, 0, 4, 1, 5), __builtin_shufflevector(a, b, 2, 6, 3, 7)};
    std::memcpy(out + 16 * v, blocks, sizeof(blocks));
  }
}

}  // namespace philox_lanes

/// factors[i] = 0 where element `begin` + i of row `row` is dropped, else keep_scale(); i in [0, count).
/// The same decisions as word `begin` + i of dropout.stream(row), whatever the run it is asked in.
inline void dropout_factors(const Dropout& dropout, int64_t row, int64_t begin, int64_t count, float* factors) {
  constexpr int64_t kGroup = philox_lanes::kElements;
  const RandomStream stream = dropout.stream(row);
  const uint32_t threshold = dropout.threshold();
  const float scale = dropout.keep_scale();
  const int64_t end = begin + count;
  for (int64_t group = begin / 4 * 4; group < end; group += kGroup) {
    uint32_t words[kGroup];
    philox_lanes::words(stream, group, words);
    float group_factors[kGroup];
#pragma omp simd
    for (int i = 0; i < kGroup; ++i) group_factors[i] = words[i] < threshold ? 0.0f : scale;
    const int64_t from = std::max(group, begin);
    const int64_t to = std::min(group + kGroup, end);
    if (to - from == kGroup) {
      std::memcpy(factors + (from - begin), group_factors, sizeof(group_factors));
    } else {
      std::copy(group_factors + (from - group), group_factors + (to - group), factors + (from - begin));
    }
  }
}

}  // namespace tsugi
