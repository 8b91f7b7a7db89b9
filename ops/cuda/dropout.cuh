// Inverted dropout in kernels: the same decisions as tsugi::Dropout (ops/tensor/context.h) on the CPU.
#pragma once

#include "ops/cuda/device.cuh"
#include "ops/cuda/dropout_key.h"
#include "ops/tensor/philox.h"

namespace tsugi::dev {

/// The random words of row `row`.
TSUGI_DEVICE RandomStream dropout_stream(const cuda::DropoutKey& key, int64_t row) {
  const uint64_t added = key.added_sample == nullptr ? 0 : dev::load(key.added_sample);
  return {key.seed, key.first_sample + added + static_cast<uint64_t>(row), key.site};
}

/// The factors of elements [first, first + V) of row `row`; `first` is a multiple of V.
template <int V>
TSUGI_DEVICE void dropout_factors(const cuda::DropoutKey& key, int64_t row, int64_t first, float (&factors)[V]) {
  const RandomStream stream = dropout_stream(key, row);
  if constexpr (V % 4 == 0) {
    TSUGI_UNROLL
    for (int i = 0; i < V; i += 4) {
      const Philox4 words = stream.block(static_cast<uint32_t>((first + i) / 4));
      TSUGI_UNROLL
      for (int j = 0; j < 4; ++j) factors[i + j] = words[j] < key.threshold ? 0.0f : key.keep_scale;
    }
  } else {
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) {
      const Philox4 words = stream.block(static_cast<uint32_t>((first + i) / 4));
      const int at = static_cast<int>((first + i) % 4);
      const uint32_t word = at < 2 ? (at == 0 ? words[0] : words[1]) : (at == 2 ? words[2] : words[3]);
      factors[i] = word < key.threshold ? 0.0f : key.keep_scale;
    }
  }
}

/// Bit 4·t + w: dropout with `threshold` keeps word w of block block_of(t) of the stream.
template <int Blocks, class F>
TSUGI_DEVICE uint32_t kept_words(const RandomStream& stream, uint32_t threshold, F&& block_of) {
  static_assert(Blocks <= 8);
  uint32_t bits = 0;
#ifdef __CUDACC__
#pragma unroll 1  // the random numbers of many blocks side by side need many registers
#endif
  for (int t = 0; t < Blocks; ++t) {
    const Philox4 words = stream.block(block_of(t));
    TSUGI_UNROLL
    for (int w = 0; w < 4; ++w) bits |= static_cast<uint32_t>(words[w] >= threshold) << (4 * t + w);
  }
  return bits;
}

/// Lanes first, first + step … (`Sharers` of them) need the same blocks, each of them `Width` words from word
/// Width·place on, and each has `kept` of its share. Bit 4·t (+ 1, of Width 2) + Width·s: keeps that word of block t of
/// the share of lane s. To be called by whole warps.
template <int Sharers, int Width>
TSUGI_DEVICE uint32_t exchange_kept(uint32_t kept, int first, int step, int place) {
  static_assert(Width == 1 || (Width == 2 && Sharers == 4));
  uint32_t bits = 0;
  TSUGI_UNROLL
  for (int s = 0; s < Sharers; ++s) {
    const uint32_t other = dev::shuffle(kept, first + s * step) >> (Width * place);
    bits |= (other & (Width == 1 ? 0x11111111u : 0x03030303u)) << (Width * s);
  }
  return bits;
}

}  // namespace tsugi::dev
