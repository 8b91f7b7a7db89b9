// What the library of products has itself: cuBLASLt on a device, the reference in the emulator. gemm.h is above it, and
// divides what the library does not have as one.
#pragma once

#include "ops/cuda/gemm.h"

namespace tsugi::cuda {

/// As product_algorithms() (gemm.h), for the product as it is; empty where the library has none.
std::vector<ProductAlgorithm> library_algorithms(const ProductShape& shape, int most);

/// Whether the library takes the algorithm for the product as it is.
bool library_takes(const ProductShape& shape, const ProductAlgorithm& algorithm);

/// The product as it is. Null: the first of library_algorithms(); refuse_product() where there is none.
void library_gemm(Stream& stream, const Gemm& product, const ProductAlgorithm* algorithm);

/// Throws Error(kUsage): the library has no such product.
[[noreturn]] void refuse_product(const ProductShape& shape);

}  // namespace tsugi::cuda
