// What the CPU path of the dropout room provides; shapes are checked.
#pragma once

#include "ops/dropout/dropout.h"

namespace tsugi::cpu {

void apply_dropout(const Context& context, const Dropout& dropout, const Tensor& x, const Tensor& out);

}  // namespace tsugi::cpu
