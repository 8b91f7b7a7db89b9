// How often the best score is the right one.
#pragma once

#include "core/autograd/parameter_store.h"

namespace tsugi {

/// Of rows [R, width] those whose largest score rows·weightᵀ + bias among the first `classes` is at their target (i32
/// [R]; kIgnoreIndex is never right), the lowest class among equals (ops/top1/top1.h). `bias` may be undefined.
/// Scores of some rows at a time; 0 on meta contexts.
int64_t count_right(const Context& context, const Tensor& rows, const Parameter& weight, const Parameter& bias,
                    const Tensor& targets, int64_t classes);

}  // namespace tsugi
