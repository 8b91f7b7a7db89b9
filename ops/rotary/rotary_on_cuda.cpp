#include "ops/cuda/operators.h"
#include "ops/rotary/rotary.h"
#include "ops/rotary/rotary_cuda.h"

namespace tsugi::cuda {
namespace {

/// On a meta device the pointers are null: whether there is a norm must be read from the tensors.
RotaryShape shape_of(const Rotary& rotary, const Tensor& packed) {
  RotaryShape shape{.type = packed.dtype(),
                    .rows = packed.shape().rows(),
                    .tokens = packed.shape()[1],
                    .query_heads = static_cast<int>(rotary.query_heads),
                    .key_heads = static_cast<int>(rotary.key_heads),
                    .head_dim = static_cast<int>(rotary.head_dim),
                    .table = pointer<float>(rotary.table),
                    .first_position = rotary.first_position,
                    .positions = pointer<int32_t>(rotary.positions),
                    .query_gamma = pointer<void>(rotary.query_gamma),
                    .key_gamma = pointer<void>(rotary.key_gamma),
                    .epsilon = rotary.epsilon};
  if (rotary.table.defined()) shape.rotated = static_cast<int>(rotary.table.shape()[1]);
  check_rotary(rotary.has_norm(), shape);
  return shape;
}

}  // namespace

void Operators::rotary_forward(const Context& context, const Rotary& rotary, const Tensor& from, const Tensor& to,
                               const Tensor& rstd) {
  const RotaryShape shape = shape_of(rotary, from);
  if (context.meta()) return;
  cuda::rotary_forward(stream(), shape, pointer<void>(from), from.shape()[2], pointer<void>(to), to.shape()[2],
                       pointer<float>(rstd));
}

void Operators::rotary_backward(const Context& context, const Rotary& rotary, const Tensor& from, const Tensor& rstd,
                                const Tensor& gradient, const Tensor& d_query_gamma, const Tensor& d_key_gamma) {
  const RotaryShape shape = shape_of(rotary, gradient);
  Tensor scratch;
  if (rotary.has_norm()) {
    scratch = context.empty({static_cast<int64_t>(rotary_scratch_bytes(shape)) / 4}, DType::kF32);
  }
  if (context.meta()) return;
  cuda::rotary_backward(stream(), shape, pointer<void>(from), from.defined() ? from.shape()[2] : 0,
                        pointer<float>(rstd), pointer<void>(gradient), gradient.shape()[2], pointer<float>(scratch),
                        pointer<float>(d_query_gamma), pointer<float>(d_key_gamma));
}

}  // namespace tsugi::cuda
