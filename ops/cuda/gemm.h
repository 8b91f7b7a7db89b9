// Matrix products on a stream: cuBLASLt on a device, the reference in the emulator.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <vector>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// The product of tsugi::matmul (ops/matmul/matmul.h) on device pointers; all matrices are row-major and dense.
struct Gemm {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  DType type = DType::kBF16;      ///< of a and b
  DType out_type = DType::kBF16;  ///< of bias, out and pre_activation: f32 or `type`
  bool transpose_a = false;       ///< a is stored [k, m]
  bool transpose_b = false;       ///< b is stored [n, k]
  bool accumulate = false;        ///< out += ; out_type is f32, and there is neither bias nor GELU
  const void* a = nullptr;
  const void* b = nullptr;
  const void* bias = nullptr;      ///< [n], of `out_type`, as cuBLASLt has it; null: none
  void* pre_activation = nullptr;  ///< receives a·b + bias; out then receives its GELU (tanh form)
  /// out = a·b · GELU'(this), of `out_type`, [m, n]; excludes bias, pre_activation and accumulate.
  const void* gelu_backward = nullptr;
  void* out = nullptr;
};

/// What a product's algorithm is chosen for: everything but its addresses, which are 16-byte aligned.
struct ProductShape {
  int64_t m = 0, n = 0, k = 0;
  DType type = DType::kBF16, out_type = DType::kBF16;
  bool transpose_a = false, transpose_b = false, accumulate = false;
  bool bias = false;  ///< has one
  bool gelu = false;  ///< has a pre_activation
  bool gelu_backward = false;

  auto operator<=>(const ProductShape&) const = default;
};
ProductShape shape_of(const Gemm& product);

/// How a product is formed, as the library writes it down. Means something to the same version of it alone.
using ProductAlgorithm = std::array<uint64_t, 8>;

/// The library's suggestions for a product, at most `most`, the one that it thinks fastest first. All of them give the
/// same bits in every run: none sums by atomics or in the type of the result. Throws Error(kUsage) where there is none.
std::vector<ProductAlgorithm> product_algorithms(const ProductShape& shape, int most);

/// Whether the library takes the algorithm for such products.
bool is_usable(const ProductShape& shape, const ProductAlgorithm& algorithm);

/// Sums are formed in at least f32; results are rounded once. Null: the library's first suggestion.
void gemm(Stream& stream, const Gemm& product, const ProductAlgorithm* algorithm = nullptr);

/// The version of the library that forms the products: their bits may depend on it.
int64_t gemm_library_version();

}  // namespace tsugi::cuda
