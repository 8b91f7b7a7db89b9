// Rotary positions and the RMSNorm of heads before them, on CUDA; rotary.h has the contract. Pointers are to device
// memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// As tsugi::Rotary, for rows = batch·tokens packed rows. With a norm head_dim is at most 256.
struct RotaryShape {
  DType type = DType::kBF16;
  int64_t rows = 0;
  int64_t tokens = 0;  ///< of a sample: row r is at first_position + r % tokens …
  int query_heads = 0;
  int key_heads = 0;
  int head_dim = 0;
  int rotated = 0;               ///< extent of the table's rows, even; 0: no rotation
  const float* table = nullptr;  ///< [positions, rotated]: cosines, then sines
  int64_t first_position = 0;
  const int32_t* positions = nullptr;  ///< … unless this is not null: [rows]
  const void* query_gamma = nullptr;   ///< [head_dim] of `type`; null: no norm
  const void* key_gamma = nullptr;
  float epsilon = 1e-6f;

  constexpr int heads() const { return query_heads + key_heads; }
};

/// Throws Error(kUsage) for what the kernels cannot do.
void check_rotary(bool norm, const RotaryShape& shape);

/// `from_stride`, `to_stride`: elements from row to row. rstd f32 [rows, heads] with the norm, else null.
void rotary_forward(Stream& stream, const RotaryShape& shape, const void* from, int64_t from_stride, void* to,
                    int64_t to_stride, float* rstd);

/// Bytes of scratch that the backward pass with a norm needs.
size_t rotary_scratch_bytes(const RotaryShape& shape);

/// The gradient in place; d_query_gamma and d_key_gamma are added to, in a fixed order.
void rotary_backward(Stream& stream, const RotaryShape& shape, const void* from, int64_t from_stride, const float* rstd,
                     void* gradient, int64_t stride, float* scratch, float* d_query_gamma, float* d_key_gamma);

}  // namespace tsugi::cuda
