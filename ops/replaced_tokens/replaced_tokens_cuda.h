// Drawn tokens and where they go, on CUDA; replaced_tokens.h has the contract. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"

namespace tsugi::cuda {

/// tsugi::TokenDraw, of rows that begin at first_row.
struct DeviceTokenDraw {
  uint64_t seed = 0;
  uint32_t site = 0;
  uint64_t first_sample = 0;
  int64_t rows_per_sample = 1;
  int64_t first_row = 0;
};

/// Indices are compared as floats.
inline constexpr int64_t kMostDrawn = int64_t{1} << 24;

/// scores [rows, columns], vocabulary at most kMostDrawn; drawn [rows]. A block per row; the noise in double, since its
/// largest values come from logarithms of what is next to 1.
void draw_rows(Stream& stream, const DeviceTokenDraw& draw, const float* scores, int64_t rows, int64_t columns,
               int64_t vocabulary, int32_t* drawn);

/// tsugi::HiddenTokens: [rows, length], of which `room` in each row may be hidden. Keys may be null.
struct DeviceHiddenTokens {
  int64_t rows = 0;
  int64_t length = 0;
  int64_t room = 0;
  const int32_t* tokens = nullptr;
  const int32_t* positions = nullptr;
  const int32_t* originals = nullptr;
  const int32_t* first_key = nullptr;
  const int32_t* end_key = nullptr;
};

/// replaced and answers [rows, length]. A block per row.
void replace_tokens(Stream& stream, const DeviceHiddenTokens& hidden, const int32_t* drawn, int32_t* replaced,
                    int32_t* answers);

}  // namespace tsugi::cuda
