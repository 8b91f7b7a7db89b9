// Squared errors of rows of numbers: what models that restore pixels or other real values are trained by.
#pragma once

#include <span>

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/tensor/context.h"

namespace tsugi {

/// Added to the variance of a row of targets before it divides (He et al., "Masked autoencoders are scalable vision
/// learners", 2021, their code).
inline constexpr double kTargetVariance = 1e-6;

/// Σ over rows r of mean over c of (x[r, c] - t[r, c])², where t[r] is row indices[r] of `targets`; with `normalize`
/// (t - mean)/sqrt(variance + 1e-6) of that row, the variance divided by C - 1 (He et al. 2021, section 4.1).
/// x [R, C] f32 or bf16, targets f32 [M, C] (leading axes flattened), C >= 2, indices i32 [R] in [0, M) (checked) or
/// kIgnoreIndex: such a row is not counted. Each row is summed in double, column by column, the rows in order.
/// `d_x` [R, C] of the type of x, if defined, receives the gradient of the sum: 2·(x - t)/C, 0 where ignored.
/// On CUDA, where nobody checks them, indices out of range make the sum NaN.
LossSum squared_error(const Context& context, const Tensor& x, const Tensor& targets, const Tensor& indices,
                      bool normalize, const Tensor& d_x);

namespace reference {
LossSum squared_error(int64_t rows, int64_t width, std::span<const double> x, std::span<const double> targets,
                      std::span<const int32_t> indices, bool normalize, std::span<double> d_x);
}  // namespace reference

}  // namespace tsugi
