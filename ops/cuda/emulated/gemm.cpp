// Products by the double-precision reference.
#include "ops/cuda/gemm.h"

#include <vector>

#include "ops/activation/activation.h"
#include "ops/cuda/emulated/global_memory.h"
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

void run(const Gemm& p) {
  const int64_t count = p.m * p.n;
  std::vector<double> out(static_cast<size_t>(count));
  if (p.accumulate) out = read(p.out, count, p.out_type);
  reference::matmul(p.m, p.n, p.k, read(p.a, p.m * p.k, p.type), p.transpose_a, read(p.b, p.k * p.n, p.type),
                    p.transpose_b, out, p.accumulate);
  if (p.bias != nullptr) {
    const std::vector<double> bias = read(p.bias, p.n, p.type);
    for (size_t i = 0; i < out.size(); ++i) out[i] += bias[i % bias.size()];
  }
  if (p.pre_activation != nullptr) {
    write(out, p.pre_activation, p.out_type);
    for (double& value : out) value = reference::activation(Activation::kGelu, value);
  }
  write(out, p.out, p.out_type);
}

}  // namespace

int64_t gemm_library_version() { return 0; }

void gemm(Stream& stream, const Gemm& product) {
  const bool plain = product.bias == nullptr && product.pre_activation == nullptr && product.out_type == DType::kF32;
  if (product.accumulate && !plain) throw emulated::Fault("gemm: only a plain f32 result can be accumulated");
  enqueue(stream, [product] { run(product); });
}

}  // namespace tsugi::cuda
