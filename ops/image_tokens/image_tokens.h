// A picture as a sequence of tokens: in front the class token, then the embedded patches, all with their positions
// (Dosovitskiy et al., "An image is worth 16x16 words", 2020, equation 1); and back, the mean of the patches' outputs.
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

/// out[b, 0] = class_token + positions[0], out[b, 1 + n] = patches[b, n] + positions[1 + n]: patches [B, N, C],
/// class_token [1, C], positions [1 + N, C], out [B, 1 + N, C], all of one type (f32 or bf16). `positions` may be
/// undefined: nothing says where a patch was.
void image_tokens(const Context& context, const Tensor& patches, const Tensor& class_token, const Tensor& positions,
                  const Tensor& out);

/// d_patches is written, if defined; d_class_token and d_positions (f32), where defined, are added to: sums over the
/// batch in f32, first to last.
void image_tokens_backward(const Context& context, const Tensor& d_out, const Tensor& d_patches,
                           const Tensor& d_class_token, const Tensor& d_positions);

/// out[b] = mean of x[b, 1 …], which leaves out the class token: x [B, T, C], T ≥ 2, out [B, C]; sums in f32, in order.
void mean_of_patches(const Context& context, const Tensor& x, const Tensor& out);
void mean_of_patches_backward(const Context& context, const Tensor& d_out, const Tensor& d_x);

namespace reference {
void image_tokens(int64_t batch, int64_t patches, int64_t width, std::span<const double> embedded,
                  std::span<const double> class_token, std::span<const double> positions, std::span<double> out);
void mean_of_patches(int64_t batch, int64_t tokens, int64_t width, std::span<const double> x, std::span<double> out);
}  // namespace reference

}  // namespace tsugi
