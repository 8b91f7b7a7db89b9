// Rows of length 1: what cosine similarities are products of.
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

/// A row shorter than this is divided by it (as torch.nn.functional.normalize).
inline constexpr double kShortestRow = 1e-12;

/// out[r] = x[r] / |x[r]|: x [..., C] f32 or bf16, out [..., C] f32; scales f64 [rows] receives 1 / |x[r]|.
/// Sums are formed in double, on the CPU column by column.
void normalize_rows(const Context& context, const Tensor& x, const Tensor& out, const Tensor& scales);

/// d_x[r] = scale·(d_out[r] - out[r]·(out[r]·d_out[r])), of the type of x; a row that is too short has no projection.
void normalize_rows_backward(const Context& context, const Tensor& out, const Tensor& scales, const Tensor& d_out,
                             const Tensor& d_x);

namespace reference {
/// out = x / |x| row by row, and d_x from d_out where the spans are not empty.
void normalize_rows(int64_t rows, int64_t width, std::span<const double> x, std::span<double> out,
                    std::span<const double> d_out, std::span<double> d_x);
}  // namespace reference

}  // namespace tsugi
