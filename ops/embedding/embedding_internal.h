// Entry points of the backends of this room.
#pragma once

#include "ops/embedding/embedding.h"

namespace tsugi::cpu {

void embedding_forward(const Context& context, const Tensor& tokens, const Tensor& token_table,
                       const Tensor& position_table, int64_t first_position, const Dropout& dropout, const Tensor& out);

/// `starts` i32 [V + 1] and `order` i32 [B·T] are memory for the sorted positions.
void embedding_backward(const Context& context, const Tensor& tokens, const Dropout& dropout, const Tensor& d_out,
                        const Tensor& d_token_table, const Tensor& d_position_table, const Tensor& starts,
                        const Tensor& order);

}  // namespace tsugi::cpu
