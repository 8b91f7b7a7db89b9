#include "core/autograd/pair_functions.h"

#include "ops/logit_scale/logit_scale.h"
#include "ops/reduce/reduce.h"

namespace tsugi {

Variable scale_pair(Tape& tape, const Variable& a, const Variable& b, double first_scale, const Parameter& offset) {
  const Context& context = tape.context();
  const Shape& shape = a.value.shape();
  Variable out = tape.variable(context.empty({2 * shape[0], shape[1]}, DType::kF32),
                               a.requires_gradient() || b.requires_gradient() || offset.trainable());
  scale_pair(context, a.value, b.value, first_scale, offset.value(), out.value);
  if (!out.requires_gradient()) return out;
  tape.record([context, a, b, first_scale, offset, scaled = out.value, output = out.gradient]() {
    const Tensor d_a = context.empty(a.value.shape(), DType::kF32);
    const Tensor d_b = context.empty(b.value.shape(), DType::kF32);
    scale_pair_backward(context, scaled, output->take(), first_scale, offset.value(), d_a, d_b,
                        offset.trainable() ? offset.gradient() : Tensor());
    if (a.requires_gradient()) a.gradient->add(context, d_a);
    if (b.requires_gradient()) b.gradient->add(context, d_b);
  });
  return out;
}

Variable in_f32(Tape& tape, const Variable& x) {
  if (x.value.dtype() == DType::kF32) return x;
  const Context& context = tape.context();
  Variable out = tape.variable(context.empty(x.value.shape(), DType::kF32), x.requires_gradient());
  convert(context, x.value, out.value);
  if (!out.requires_gradient()) return out;
  tape.record([context, x, output = out.gradient]() {
    const Tensor d_x = context.empty(x.value.shape(), x.value.dtype());
    convert(context, output->take(), d_x);
    x.gradient->add(context, d_x);
  });
  return out;
}

Variable concatenate_rows(Tape& tape, const std::vector<Variable>& parts) {
  const Context& context = tape.context();
  const int64_t width = parts.front().value.shape()[1];
  const DType type = parts.front().value.dtype();
  int64_t rows = 0;
  bool wanted = false;
  for (const Variable& part : parts) {
    CHECK(part.value.shape().rank() == 2 && part.value.shape()[1] == width && part.value.dtype() == type);
    rows += part.value.shape()[0];
    wanted = wanted || part.requires_gradient();
  }
  Variable out = tape.variable(context.empty({rows, width}, type), wanted);
  int64_t first = 0;
  for (const Variable& part : parts) {
    convert(context, part.value, out.value.slice(first, part.value.shape()));
    first += part.value.elements();
  }
  if (!out.requires_gradient()) return out;
  tape.record([context, parts, output = out.gradient]() {
    const Tensor d_out = output->take();
    int64_t begin = 0;
    for (const Variable& part : parts) {
      if (part.requires_gradient()) {
        const Tensor d_part = context.empty(part.value.shape(), d_out.dtype());
        convert(context, d_out.slice(begin, part.value.shape()), d_part);
        part.gradient->add(context, d_part);
      }
      begin += part.value.elements();
    }
  });
  return out;
}

}  // namespace tsugi
