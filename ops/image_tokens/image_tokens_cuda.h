// Pictures as tokens on CUDA; image_tokens.h has the contract. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// Of the output: [batch, tokens, width], of which the first token is the class token.
struct ImageTokensShape {
  DType type = DType::kBF16;
  int64_t batch = 0;
  int64_t tokens = 0;
  int64_t width = 0;
};

/// `positions` may be null.
void image_tokens(Stream& stream, const ImageTokensShape& shape, const void* patches, const void* class_token,
                  const void* positions, void* out);

/// Any of the results may be null. Sums over the batch are formed first to last by one thread each, as on the CPU: the
/// same bits.
void image_tokens_backward(Stream& stream, const ImageTokensShape& shape, const void* d_out, void* d_patches,
                           float* d_class_token, float* d_positions);

/// out [batch, width]; each sum by one thread, in order.
void mean_of_patches(Stream& stream, const ImageTokensShape& shape, const void* x, void* out);
void mean_of_patches_backward(Stream& stream, const ImageTokensShape& shape, const void* d_out, void* d_x);

}  // namespace tsugi::cuda
