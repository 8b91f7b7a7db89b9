// Picks rows of a matrix, and its gradient.
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

/// out[n] = x[indices[n]]: x [R, C], indices i32 [N] in [0, R) (checked), out [N, C] of x's type (f32 or bf16).
void gather_rows(const Context& context, const Tensor& x, const Tensor& indices, const Tensor& out);

/// d_x = 0, then d_x[indices[n]] += d_out[n] in the order of n.
void gather_rows_backward(const Context& context, const Tensor& indices, const Tensor& d_out, const Tensor& d_x);

namespace reference {
/// Rows of `width`, in double; the second writes d_x.
void gather_rows(int64_t width, std::span<const int32_t> indices, std::span<const double> x, std::span<double> out);
void gather_rows_backward(int64_t width, std::span<const int32_t> indices, std::span<const double> d_out,
                          std::span<double> d_x);
}  // namespace reference

}  // namespace tsugi
