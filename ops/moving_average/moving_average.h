// Exponential moving averages of weights: the second encoder of momentum contrast (He et al., "Momentum contrast for
// unsupervised visual representation learning", 2020, equation 2).
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

/// average = momentum·average + (1 - momentum)·value, element by element; f32 both, each rounded once from double.
/// Under a fixed value the average differs from momentum^t·start + (1 - momentum^t)·value, after any number t of calls,
/// by at most half a unit in the last place over (1 - momentum). momentum in [0, 1].
void moving_average(const Context& context, double momentum, const Tensor& value, const Tensor& average);

namespace reference {
void moving_average(double momentum, std::span<const double> value, std::span<double> average);
}  // namespace reference

}  // namespace tsugi
