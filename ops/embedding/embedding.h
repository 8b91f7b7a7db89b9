// Token and position embedding.
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

/// out[b, t] = dropout(token_table[tokens[b, t]] + position_table[first_position + t]); position_table may be
/// undefined: no positions are added, and first_position is ignored. tokens: i32 [B, T], each in [0, rows of the table)
/// (the caller has validated them; checked in debug builds); tables [V, C] and [P, C] of the type of out [B, T, C].
/// Dropout: row = b, element = t·C + c.
void embedding_forward(const Context& context, const Tensor& tokens, const Tensor& token_table,
                       const Tensor& position_table, int64_t first_position, const Dropout& dropout, const Tensor& out);

/// Adds to d_token_table [V, C] and d_position_table [P, C] (f32), for first_position 0. Deterministic: positions are
/// sorted by token (stable), each row of the table is summed in that order by one thread. d_position_table is undefined
/// if the table was.
void embedding_backward(const Context& context, const Tensor& tokens, const Dropout& dropout, const Tensor& d_out,
                        const Tensor& d_token_table, const Tensor& d_position_table);

namespace reference {
/// tokens [batch·length]; adds to the tables' gradients in double.
void embedding_backward(int64_t batch, int64_t length, int64_t width, std::span<const int32_t> tokens,
                        std::span<const double> d_out, std::span<double> d_token_table,
                        std::span<double> d_position_table);
}  // namespace reference

}  // namespace tsugi
