// Yes or no: the cross-entropy of one score per row, for models that tell whether something is so.
#pragma once

#include <span>

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/tensor/context.h"

namespace tsugi {

/// Σ over rows of log(1 + exp(x)) - t·x, t the target: -log σ(x) of 1, -log(1 - σ(x)) of 0. x [R] f32 or bf16 (any
/// shape with as many elements), targets i32 [R]: 0, 1 (checked) or kIgnoreIndex, whose row is not counted. In double,
/// row by row. `d_x` of the shape and type of x, if defined, receives `weight` times the gradient of the sum:
/// weight·(σ(x) - t), 0 where ignored. On CUDA other targets make the sum NaN.
LossSum binary_cross_entropy(const Context& context, const Tensor& x, const Tensor& targets, float weight,
                             const Tensor& d_x);

namespace reference {
LossSum binary_cross_entropy(std::span<const double> x, std::span<const int32_t> targets, double weight,
                             std::span<double> d_x);
}  // namespace reference

}  // namespace tsugi
