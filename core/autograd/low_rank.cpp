#include "core/autograd/low_rank.h"

#include "core/autograd/functions.h"
#include "ops/columns/columns.h"
#include "ops/matmul/matmul.h"

namespace tsugi {
Variable low_rank_update(Tape& tape, const Variable& x, const Variable& y, const Parameter& down, const Parameter& up,
                         int64_t first, float scale) {
  const Context& context = tape.context();
  const DType type = x.value.dtype();
  const Tensor rows = as_matrix(x.value);
  const Tensor target = as_matrix(y.value);
  const Tensor low = context.empty({rows.shape()[0], down.value().shape()[0]}, type);
  matmul(context, rows, down.value(), low, {.transpose_b = true});
  const int64_t width = up.value().shape()[0];
  {
    const Tensor update = context.empty({rows.shape()[0], width}, type);
    matmul(context, low, up.value(), update, {.transpose_b = true});
    add_to_columns(context, update, first, scale, target);
  }
  const Variable out =
      tape.variable(y.value, x.requires_gradient() || y.requires_gradient() || down.trainable() || up.trainable());
  if (!out.requires_gradient()) return out;

  tape.record([context, x, below = y.gradient, slot = out.gradient, down, up, low, first, scale, type, width]() {
    const Tensor d_out = slot->take();
    const Tensor d_rows = as_matrix(d_out);
    const int64_t count = d_rows.shape()[0];
    const Tensor d_update = context.empty({count, width}, type);
    take_columns(context, d_rows, first, scale, d_update);
    const Tensor d_low = context.empty(low.shape(), type);
    matmul(context, d_update, up.value(), d_low);
    if (up.trainable()) matmul(context, d_update, low, up.gradient(), {.transpose_a = true, .accumulate = true});
    if (down.trainable()) {
      matmul(context, d_low, as_matrix(x.value), down.gradient(), {.transpose_a = true, .accumulate = true});
    }
    if (x.requires_gradient()) {
      const Tensor d_x = context.empty(x.value.shape(), type);
      matmul(context, d_low, down.value(), as_matrix(d_x));
      x.gradient->add(context, d_x);
    }
    if (below != nullptr) below->add(context, d_out);
  });
  return out;
}

}  // namespace tsugi
