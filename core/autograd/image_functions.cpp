#include "core/autograd/image_functions.h"

#include "ops/gather_rows/gather_rows.h"
#include "ops/image_tokens/image_tokens.h"
#include "ops/normalize_rows/normalize_rows.h"
#include "ops/squared_error/squared_error.h"

namespace tsugi {

Variable image_tokens(Tape& tape, const Variable& embedded, const Parameter& class_token, const Parameter& positions) {
  const Context& context = tape.context();
  const Shape& shape = embedded.value.shape();
  const bool train_positions = positions.defined() && positions.trainable();
  Variable out = tape.variable(context.empty({shape[0], shape[1] + 1, shape[2]}, embedded.value.dtype()),
                               embedded.requires_gradient() || class_token.trainable() || train_positions);
  image_tokens(context, embedded.value, class_token.value(), positions.defined() ? positions.value() : Tensor(),
               out.value);
  if (!out.requires_gradient()) return out;
  tape.record([context, embedded, class_token, positions, train_positions, output = out.gradient]() {
    const Tensor d_embedded =
        embedded.requires_gradient() ? context.empty(embedded.value.shape(), embedded.value.dtype()) : Tensor();
    image_tokens_backward(context, output->take(), d_embedded,
                          class_token.trainable() ? class_token.gradient() : Tensor(),
                          train_positions ? positions.gradient() : Tensor());
    if (d_embedded.defined()) embedded.gradient->add(context, d_embedded);
  });
  return out;
}

Variable mean_of_patches(Tape& tape, const Variable& x) {
  const Context& context = tape.context();
  const Shape& shape = x.value.shape();
  Variable out = tape.variable(context.empty({shape[0], shape[2]}, x.value.dtype()), x.requires_gradient());
  mean_of_patches(context, x.value, out.value);
  if (!out.requires_gradient()) return out;
  tape.record([context, x, output = out.gradient]() {
    const Tensor d_x = context.empty(x.value.shape(), x.value.dtype());
    mean_of_patches_backward(context, output->take(), d_x);
    x.gradient->add(context, d_x);
  });
  return out;
}

Variable spread_rows(Tape& tape, const Variable& x, const Tensor& indices, int64_t rows) {
  const Context& context = tape.context();
  const Shape& shape = x.value.shape();
  Variable out = tape.variable(context.empty({rows, shape[-1]}, x.value.dtype()), x.requires_gradient());
  gather_rows_backward(context, indices, x.value.reshape({shape.rows(), shape[-1]}), out.value);
  if (!out.requires_gradient()) return out;
  tape.record([context, shape, rows, type = x.value.dtype(), input = x.gradient, indices, output = out.gradient]() {
    const Tensor d_x = context.empty({shape.rows(), shape[-1]}, type);
    gather_rows(context, output->take().reshape({rows, shape[-1]}), indices, d_x);
    input->add(context, d_x.reshape(shape));
  });
  return out;
}

LossSum squared_error_loss(Tape& tape, const Variable& x, const Tensor& targets, const Tensor& indices,
                           bool normalize) {
  const Context& context = tape.context();
  const Tensor d_x = x.requires_gradient() ? context.empty(x.value.shape(), x.value.dtype()) : Tensor();
  const LossSum loss = squared_error(context, x.value, targets, indices, normalize, d_x);
  if (x.requires_gradient()) tape.record([context, d_x, slot = x.gradient]() { slot->add(context, d_x); });
  return loss;
}

Variable normalize_rows(Tape& tape, const Variable& x) {
  const Context& context = tape.context();
  const Tensor scales = context.empty({x.value.shape().rows()}, DType::kF64);
  Variable out = tape.variable(context.empty(x.value.shape(), DType::kF32), x.requires_gradient());
  normalize_rows(context, x.value, out.value, scales);
  if (!out.requires_gradient()) return out;
  tape.record([context, x, scales, unit = out.value, output = out.gradient]() {
    const Tensor d_x = context.empty(x.value.shape(), x.value.dtype());
    normalize_rows_backward(context, unit, scales, output->take(), d_x);
    x.gradient->add(context, d_x);
  });
  return out;
}

}  // namespace tsugi
