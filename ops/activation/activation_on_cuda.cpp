#include "ops/activation/activation.h"
#include "ops/activation/activation_cuda.h"
#include "ops/cuda/operators.h"

namespace tsugi::cuda {

void Operators::activation_forward(const Context& context, Activation activation, const Tensor& x, const Tensor& out) {
  if (context.meta()) return;
  cuda::activation_forward(stream(), activation, x.dtype(), pointer<void>(x), pointer<void>(out), x.elements());
}

void Operators::activation_backward(const Context& context, Activation activation, const Tensor& pre_activation,
                                    const Tensor& d_out, const Tensor& d_pre) {
  if (context.meta()) return;
  cuda::activation_backward(stream(), activation, d_out.dtype(), pointer<void>(pre_activation), pointer<void>(d_out),
                            pointer<void>(d_pre), d_out.elements());
}

void Operators::gated_activation_forward(const Context& context, Activation activation, const Tensor& gate_up,
                                         const Tensor& out) {
  if (context.meta()) return;
  cuda::gated_activation_forward(stream(), activation, out.dtype(), pointer<void>(gate_up), pointer<void>(out),
                                 out.shape().rows(), out.shape()[-1]);
}

void Operators::gated_activation_backward(const Context& context, Activation activation, const Tensor& gate_up,
                                          const Tensor& d_out, const Tensor& d_gate_up) {
  if (context.meta()) return;
  cuda::gated_activation_backward(stream(), activation, d_out.dtype(), pointer<void>(gate_up), pointer<void>(d_out),
                                  pointer<void>(d_gate_up), d_out.shape().rows(), d_out.shape()[-1]);
}

}  // namespace tsugi::cuda
