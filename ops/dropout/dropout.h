// Inverted dropout by itself; most of it is fused with what comes before or after.
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

/// out = x where an element is kept, times keep_scale(), and 0 where it is dropped; x [B, ...] and out of one type (f32
/// or bf16), out may be x. Row = index in B, element = index within the row (Dropout in ops/tensor/context.h, which
/// must be active). Its own gradient: d_x is the same of d_out.
void apply_dropout(const Context& context, const Dropout& dropout, const Tensor& x, const Tensor& out);

namespace reference {
/// rows × width in double, a random word at a time.
void apply_dropout(const Dropout& dropout, int64_t rows, int64_t width, std::span<const double> x,
                   std::span<double> out);
}  // namespace reference

}  // namespace tsugi
