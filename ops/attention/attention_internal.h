// Entry points of the backends of this room.
#pragma once

#include "ops/attention/attention.h"

namespace tsugi::cpu {

/// Whether the products of this attention are formed by dot products of bf16: probabilities and the gradients of
/// scores are then rounded to bf16 before the products that they enter, as queries, keys and values are; sums are f32.
/// A function of the shape, of whether there is dropout, and of the CPU (bf16_gemm_is_native()).
bool is_native_bf16(const AttentionShape& shape, const Dropout& dropout);

/// `workspace`: for one query over more than one chunk of keys, f32 [batch·heads, chunks, head_dim + 2].
void attention_forward(const Context& context, const AttentionShape& shape, const HeadsView& q, const HeadsView& k,
                       const HeadsView& v, const Dropout& dropout, const Tensor& out, const Tensor& log_sum_exp,
                       const Tensor& workspace);

/// `bias_workspace`: where d_relative_bias is defined, f32 [batch·heads·query tiles, bias_width(shape)].
void attention_backward(const Context& context, const AttentionShape& shape, const HeadsView& q, const HeadsView& k,
                        const HeadsView& v, const Dropout& dropout, const Tensor& out, const Tensor& log_sum_exp,
                        const Tensor& d_out, const HeadsView& dq, const HeadsView& dk, const HeadsView& dv,
                        const Tensor& d_relative_bias, const Tensor& bias_workspace);

}  // namespace tsugi::cpu
