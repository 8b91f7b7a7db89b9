// Inverted dropout in kernels: the same decisions as tsugi::Dropout (ops/tensor/context.h) on the CPU.
#pragma once

#include "ops/cuda/device.cuh"
#include "ops/cuda/dropout_key.h"
#include "ops/tensor/philox.h"

namespace tsugi::dev {

/// The factors of elements [first, first + V) of row `row`; `first` is a multiple of V.
template <int V>
TSUGI_DEVICE void dropout_factors(const cuda::DropoutKey& key, int64_t row, int64_t first, float (&factors)[V]) {
  const uint64_t added = key.added_sample == nullptr ? 0 : dev::load(key.added_sample);
  const RandomStream stream{key.seed, key.first_sample + added + static_cast<uint64_t>(row), key.site};
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

}  // namespace tsugi::dev
