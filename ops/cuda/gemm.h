// Matrix products on a stream: cuBLASLt on a device, the reference in the emulator.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// The product of tsugi::matmul (ops/matmul/matmul.h) on device pointers; all matrices are row-major and dense.
struct Gemm {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  DType type = DType::kBF16;      ///< of a, b and bias
  DType out_type = DType::kBF16;  ///< of out and pre_activation: f32 or `type`
  bool transpose_a = false;       ///< a is stored [k, m]
  bool transpose_b = false;       ///< b is stored [n, k]
  bool accumulate = false;        ///< out += ; out_type is f32, and there is neither bias nor GELU
  const void* a = nullptr;
  const void* b = nullptr;
  const void* bias = nullptr;      ///< [n]; null: none
  void* pre_activation = nullptr;  ///< receives a·b + bias; out then receives its GELU (tanh form)
  void* out = nullptr;
};

/// Sums are formed in at least f32; results are rounded once. Algorithms are chosen by the library's heuristic, among
/// those that give the same bits in every run; all pointers are 16-byte aligned.
void gemm(Stream& stream, const Gemm& product);

/// The version of the library that forms the products: their bits may depend on it.
int64_t gemm_library_version();

}  // namespace tsugi::cuda
