// Ranges of a matrix's columns: where one product's output holds several things side by side.
#pragma once

#include "ops/tensor/context.h"

namespace tsugi {

/// out[r, c] = scale · x[r, first + c]: x [R, C], out [R, N] of one type (f32 or bf16), 0 <= first <= C - N (checked).
void take_columns(const Context& context, const Tensor& x, int64_t first, float scale, const Tensor& out);

/// x[r, first + c] += scale · addend[r, c], rounded once. Shapes and types as above.
void add_to_columns(const Context& context, const Tensor& addend, int64_t first, float scale, const Tensor& x);

}  // namespace tsugi
