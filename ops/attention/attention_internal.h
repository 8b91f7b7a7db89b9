// Entry points of the backends of this room.
#pragma once

#include "ops/attention/attention.h"

namespace tsugi::cpu {

void attention_forward(const Context& context, const AttentionShape& shape, const HeadsView& q, const HeadsView& k,
                       const HeadsView& v, const Dropout& dropout, const Tensor& out, const Tensor& log_sum_exp);

void attention_backward(const Context& context, const AttentionShape& shape, const HeadsView& q, const HeadsView& k,
                        const HeadsView& v, const Dropout& dropout, const Tensor& out, const Tensor& log_sum_exp,
                        const Tensor& d_out, const HeadsView& dq, const HeadsView& dk, const HeadsView& dv);

}  // namespace tsugi::cpu
