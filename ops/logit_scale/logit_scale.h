// The learnt scale of two kinds of features whose products are logits (Radford et al., "Learning transferable visual
// models from natural language supervision", 2021, section 2.4): logits = s·a_i·b_j, s = min(exp(log_scale), 100).
//
// Both kinds are multiplied by sqrt(s), so that their products are the logits and the gradient of the scale comes along
// with those of the features. Above 100 the gradient passes as if there was no limit, so that the scale finds back.
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

/// The largest scale.
inline constexpr double kLogitScaleLimit = 100.0;

/// s of a learnt `offset` from ln of the first scale.
double logit_scale(double first_scale, double offset);

/// out f32 [2·R, D] = sqrt(s)·(a; b): a and b f32 [R, D], offset [1] f32 or bf16.
void scale_pair(const Context& context, const Tensor& a, const Tensor& b, double first_scale, const Tensor& offset,
                const Tensor& out);

/// From d_out f32 [2·R, D]: d_a, d_b f32 [R, D] are written, d_offset f32 [1], where defined, is added to. Sums in
/// double, row by row.
void scale_pair_backward(const Context& context, const Tensor& out, const Tensor& d_out, double first_scale,
                         const Tensor& offset, const Tensor& d_a, const Tensor& d_b, const Tensor& d_offset);

namespace reference {
void scale_pair(std::span<const double> a, std::span<const double> b, double first_scale, double offset,
                std::span<double> out);
/// Returns the gradient of the offset.
double scale_pair_backward(std::span<const double> out, std::span<const double> d_out, double first_scale,
                           double offset, std::span<double> d_a, std::span<double> d_b);
}  // namespace reference

}  // namespace tsugi
