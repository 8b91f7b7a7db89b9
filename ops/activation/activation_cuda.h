// Activations and gated activations, on CUDA; activation.h has the contract. Pointers are to device memory, 16-byte
// aligned.
#pragma once

#include <cstdint>

#include "ops/activation/activation_kind.h"
#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// out = f(x), element by element; out may be x.
void activation_forward(Stream& stream, Activation activation, DType type, const void* x, void* out, int64_t count);

/// d_pre = d_out · f'(pre); d_pre may be d_out.
void activation_backward(Stream& stream, Activation activation, DType type, const void* pre, const void* d_out,
                         void* d_pre, int64_t count);

/// out [rows, width] = f(gate) · up, of gate_up [rows, 2·width] with the gates first.
void gated_activation_forward(Stream& stream, Activation activation, DType type, const void* gate_up, void* out,
                              int64_t rows, int64_t width);

/// d_gate_up, laid out like gate_up, and may be gate_up itself.
void gated_activation_backward(Stream& stream, Activation activation, DType type, const void* gate_up,
                               const void* d_out, void* d_gate_up, int64_t rows, int64_t width);

}  // namespace tsugi::cuda
