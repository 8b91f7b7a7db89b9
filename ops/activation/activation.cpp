#include "ops/activation/activation.h"

#include "ops/activation/activation_internal.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

void check_alike(const Tensor& x, const Tensor& other) {
  CHECK(x.dtype() == DType::kF32 || x.dtype() == DType::kBF16) << name_of(x.dtype());
  CHECK(other.dtype() == x.dtype()) << name_of(other.dtype());
  CHECK_EQ(other.elements(), x.elements());
}

void check_gated(const Tensor& gate_up, const Tensor& half) {
  CHECK(gate_up.dtype() == DType::kF32 || gate_up.dtype() == DType::kBF16) << name_of(gate_up.dtype());
  CHECK(half.dtype() == gate_up.dtype()) << name_of(half.dtype());
  CHECK_EQ(gate_up.shape()[-1], 2 * half.shape()[-1]);
  CHECK_EQ(gate_up.shape().rows(), half.shape().rows());
}

}  // namespace

void activation_forward(const Context& context, Activation activation, const Tensor& x, const Tensor& out) {
  check_alike(x, out);
  const ProfiledOperator work(context, "activation", 0, {&x, &out});
  if (DeviceOperators* device = context.operators()) return device->activation_forward(context, activation, x, out);
  if (context.meta()) return;
  cpu::activation_forward(context, activation, x, out);
}

void activation_backward(const Context& context, Activation activation, const Tensor& pre_activation,
                         const Tensor& d_out, const Tensor& d_pre) {
  check_alike(pre_activation, d_out);
  check_alike(pre_activation, d_pre);
  const ProfiledOperator work(context, "activation backward", 0, {&pre_activation, &d_out, &d_pre});
  if (DeviceOperators* device = context.operators())
    return device->activation_backward(context, activation, pre_activation, d_out, d_pre);
  if (context.meta()) return;
  cpu::activation_backward(context, activation, pre_activation, d_out, d_pre);
}

void gated_activation_forward(const Context& context, Activation activation, const Tensor& gate_up, const Tensor& out) {
  check_gated(gate_up, out);
  const ProfiledOperator work(context, "gated activation", 0, {&gate_up, &out});
  if (DeviceOperators* device = context.operators())
    return device->gated_activation_forward(context, activation, gate_up, out);
  if (context.meta()) return;
  cpu::gated_activation_forward(context, activation, gate_up, out);
}

void gated_activation_backward(const Context& context, Activation activation, const Tensor& gate_up,
                               const Tensor& d_out, const Tensor& d_gate_up) {
  check_gated(gate_up, d_out);
  check_alike(gate_up, d_gate_up);
  const ProfiledOperator work(context, "gated activation backward", 0, {&gate_up, &d_out, &d_gate_up});
  if (DeviceOperators* device = context.operators())
    return device->gated_activation_backward(context, activation, gate_up, d_out, d_gate_up);
  if (context.meta()) return;
  cpu::gated_activation_backward(context, activation, gate_up, d_out, d_gate_up);
}

}  // namespace tsugi
