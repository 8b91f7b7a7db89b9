// The RMSNorm of heads before their rotary positions, behind rotary_cuda.h.
#pragma once

#include "ops/rotary/rotary_cuda.h"

namespace tsugi::cuda {

/// rotary_forward() and rotary_backward() with gammas.
void norm_and_turn(Stream& stream, const RotaryShape& shape, const void* from, int64_t from_stride, void* to,
                   int64_t to_stride, float* rstd);
void turn_and_norm_back(Stream& stream, const RotaryShape& shape, const void* from, int64_t from_stride,
                        const float* rstd, void* gradient, int64_t stride, float* scratch, float* d_query_gamma,
                        float* d_key_gamma);

}  // namespace tsugi::cuda
