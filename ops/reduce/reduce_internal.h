// What the CPU path of the reduce room provides; shapes are checked.
#pragma once

#include "ops/tensor/context.h"

namespace tsugi::cpu {

/// Rows that are summed in one piece.
inline constexpr int64_t kColumnSumRows = 64;

/// `partial` f32 [ceil(M / kColumnSumRows), N].
void column_sum(const Context& context, const Tensor& x, const Tensor& partial, const Tensor& out);
void add_in_place(const Context& context, const Tensor& a, const Tensor& b);
void fill_zero(const Context& context, const Tensor& x);
void convert(const Context& context, const Tensor& from, const Tensor& to);

}  // namespace tsugi::cpu
