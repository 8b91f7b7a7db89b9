// Top-1 accuracy: whether the best score of a row is that of its target.
#pragma once

#include <cstdint>
#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

/// right i32 [R]: 1 where, of the first `classes` scores of a row of f32 [R, columns], that of its target (i32 [R]) is
/// the largest and the first of equal ones; else 0. A target outside of them (kIgnoreIndex) is never right, nor is one
/// with a NaN in its row.
void top1(const Context& context, const Tensor& scores, const Tensor& targets, int64_t classes, const Tensor& right);

namespace reference {
/// How many of the rows are right.
int64_t top1(int64_t columns, std::span<const double> scores, std::span<const int32_t> targets, int64_t classes);
}  // namespace reference

}  // namespace tsugi
