// Products by the double-precision reference.
#include <utility>
#include <vector>

#include "ops/activation/activation.h"
#include "ops/cuda/emulated/global_memory.h"
#include "ops/cuda/emulated/machine.h"
#include "ops/cuda/gemm_library.h"
#include "ops/matmul/matmul.h"

namespace tsugi::cuda {
namespace {

using emulated::Where;

/// Checks that the matrix lies in one allocation.
std::vector<double> read(const void* data, int64_t count, DType type) {
  std::vector<double> values(static_cast<size_t>(count));
  dispatch_compute_type(type, [&]<class T>(T) {
    emulated::check_global(data, values.size() * sizeof(T), 16, Where::current());
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<double>(static_cast<float>(static_cast<const T*>(data)[i]));
    }
  });
  return values;
}

/// Rounds the values in place.
void write(std::vector<double>& values, void* data, DType type) {
  dispatch_compute_type(type, [&]<class T>(T) {
    emulated::check_global(data, values.size() * sizeof(T), 16, Where::current());
    for (size_t i = 0; i < values.size(); ++i) {
      const T rounded = T(static_cast<float>(values[i]));
      static_cast<T*>(data)[i] = rounded;
      values[i] = static_cast<double>(static_cast<float>(rounded));
    }
  });
}

/// Algorithm i cuts K into i + 1 pieces whose sums are rounded to f32: other bits, the same error.
constexpr uint64_t kAlgorithms = 3;
constexpr uint64_t kMark = 0x656d756c61746564;

/// The terms [begin, end) of the sums over k.
void add_piece(const Gemm& p, const std::vector<double>& a, const std::vector<double>& b, int64_t begin, int64_t end,
               std::vector<double>& out) {
  const auto piece = [&](const std::vector<double>& all, bool k_first, int64_t other) {
    if (k_first) return std::vector<double>(all.begin() + begin * other, all.begin() + end * other);
    std::vector<double> part;
    for (int64_t row = 0; row < other; ++row) {
      part.insert(part.end(), all.begin() + row * p.k + begin, all.begin() + row * p.k + end);
    }
    return part;
  };
  reference::matmul(p.m, p.n, end - begin, piece(a, p.transpose_a, p.m), p.transpose_a, piece(b, !p.transpose_b, p.n),
                    p.transpose_b, out, false);
}

void run(const Gemm& p, int64_t pieces) {
  const int64_t count = p.m * p.n;
  std::vector<double> out(static_cast<size_t>(count));
  const std::vector<double> a = read(p.a, p.m * p.k, p.type);
  const std::vector<double> b = read(p.b, p.k * p.n, p.type);
  if (pieces == 1) {
    if (p.accumulate) out = read(p.out, count, p.out_type);
    reference::matmul(p.m, p.n, p.k, a, p.transpose_a, b, p.transpose_b, out, p.accumulate);
  } else {
    std::vector<double> sums(out.size());
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const int64_t begin = p.k * piece / pieces, end = p.k * (piece + 1) / pieces;
      if (begin == end) continue;
      add_piece(p, a, b, begin, end, sums);
      for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<double>(static_cast<float>(out[i] + sums[i]));
    }
    if (p.accumulate) {
      const std::vector<double> before = read(p.out, count, p.out_type);
      for (size_t i = 0; i < out.size(); ++i) out[i] += before[i];
    }
  }
  if (p.bias != nullptr) {
    const std::vector<double> bias = read(p.bias, p.n, p.out_type);
    for (size_t i = 0; i < out.size(); ++i) out[i] += bias[i % bias.size()];
  }
  if (p.pre_activation != nullptr) {
    write(out, p.pre_activation, p.out_type);
    for (double& value : out) value = reference::activation(Activation::kGelu, value);
  }
  if (p.gelu_backward != nullptr) {
    const std::vector<double> pre = read(p.gelu_backward, count, p.out_type);
    for (size_t i = 0; i < out.size(); ++i) out[i] *= reference::activation_derivative(Activation::kGelu, pre[i]);
  }
  write(out, p.out, p.out_type);
}

}  // namespace

int64_t gemm_library_version() { return 0; }

std::vector<ProductAlgorithm> library_algorithms(const ProductShape& shape, int most) {
  if (!emulated::options().gelu_epilogue && (shape.gelu || shape.gelu_backward)) return {};
  std::vector<ProductAlgorithm> algorithms;
  for (uint64_t i = 0; i < kAlgorithms && std::cmp_less(i, most); ++i) algorithms.push_back({kMark, i});
  return algorithms;
}

bool library_takes(const ProductShape& shape, const ProductAlgorithm& algorithm) {
  if (library_algorithms(shape, 1).empty()) return false;
  return algorithm[0] == kMark && algorithm[1] < kAlgorithms;
}

void library_gemm(Stream& stream, const Gemm& product, const ProductAlgorithm* algorithm) {
  if (library_algorithms(shape_of(product), 1).empty()) refuse_product(shape_of(product));
  const bool plain = product.bias == nullptr && product.pre_activation == nullptr && product.out_type == DType::kF32;
  if (product.accumulate && !plain) throw emulated::Fault("gemm: only a plain f32 result can be accumulated");
  const bool apart = product.bias == nullptr && product.pre_activation == nullptr && !product.accumulate;
  if (product.gelu_backward != nullptr && !apart) throw emulated::Fault("gemm: the backward pass of GELU stands alone");
  if (algorithm != nullptr && !library_takes(shape_of(product), *algorithm)) {
    throw emulated::Fault("gemm: an algorithm of another library");
  }
  const int64_t pieces = algorithm == nullptr ? 1 : static_cast<int64_t>((*algorithm)[1]) + 1;
  enqueue(stream, [product, pieces] { run(product, pieces); });
}

}  // namespace tsugi::cuda
