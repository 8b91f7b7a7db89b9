// Products that the library does not have as one: GELU, forward and backward, is a pass of its own there.
#include "ops/cuda/gemm.h"

#include <map>
#include <mutex>

#include "ops/activation/activation_cuda.h"
#include "ops/base/error.h"
#include "ops/cuda/gemm_library.h"

namespace tsugi::cuda {
namespace {

/// Whether the library has GELU, or its backward pass, within this product. Asked once: an answer stays the same for a
/// device and a version of the library.
bool has_gelu_epilogue(const ProductShape& s) {
  // The epilogue has what came before in rows of 16 bytes.
  if (s.type != DType::kBF16 || s.out_type != DType::kBF16 || s.n % 8 != 0) return false;
  static std::mutex lock;
  static std::map<ProductShape, bool> answers;
  const std::lock_guard held(lock);
  const auto known = answers.find(s);
  if (known != answers.end()) return known->second;
  return answers[s] = !library_algorithms(s, 1).empty();
}

ProductShape formed_by_library(ProductShape s) {
  if ((s.gelu || s.gelu_backward) && !has_gelu_epilogue(s)) s.gelu = s.gelu_backward = false;
  return s;
}

}  // namespace

void refuse_product(const ProductShape& s) {
  throw Error(ExitCode::kUsage,
              "CUDA: the library has no product of " + std::to_string(s.m) + " x " + std::to_string(s.k) + " and " +
                  std::to_string(s.k) + " x " + std::to_string(s.n) + " in " + name_of(s.type) + " with result in " +
                  name_of(s.out_type),
              "choose widths that are multiples of 8");
}

std::vector<ProductAlgorithm> product_algorithms(const ProductShape& shape, int most) {
  const ProductShape formed = formed_by_library(shape);
  std::vector<ProductAlgorithm> algorithms = library_algorithms(formed, most);
  if (algorithms.empty()) refuse_product(formed);
  return algorithms;
}

bool is_usable(const ProductShape& shape, const ProductAlgorithm& algorithm) {
  return library_takes(formed_by_library(shape), algorithm);
}

void gemm(Stream& stream, const Gemm& p, const ProductAlgorithm* algorithm) {
  const bool gelu = p.pre_activation != nullptr || p.gelu_backward != nullptr;
  if (!gelu || has_gelu_epilogue(shape_of(p))) return library_gemm(stream, p, algorithm);
  Gemm plain = p;
  plain.gelu_backward = nullptr;
  if (p.gelu_backward != nullptr) {
    library_gemm(stream, plain, algorithm);
    activation_backward(stream, Activation::kGelu, p.out_type, p.gelu_backward, p.out, p.out, p.m * p.n);
    return;
  }
  plain.out = p.pre_activation;
  plain.pre_activation = nullptr;
  library_gemm(stream, plain, algorithm);
  activation_forward(stream, Activation::kGelu, p.out_type, p.pre_activation, p.out, p.m * p.n);
}

}  // namespace tsugi::cuda
