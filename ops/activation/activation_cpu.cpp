#include <algorithm>

#include "ops/activation/activation_internal.h"
#include "ops/base/vector_math.h"

namespace tsugi::cpu {

void gelu_backward(const Context& context, const Tensor& pre_activation, const Tensor& d_out, const Tensor& d_pre) {
  constexpr int64_t kPiece = 8192;
  const int64_t count = pre_activation.elements();
  dispatch_compute_type(pre_activation.dtype(), [&]<class T>(T) {
    const T* x = pre_activation.data<T>();
    const T* from = d_out.data<T>();
    T* to = d_pre.data<T>();
    context.pool().for_each((count + kPiece - 1) / kPiece, [&](int64_t piece, int) {
      const int64_t begin = piece * kPiece;
      const int64_t end = std::min(begin + kPiece, count);
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) {
        store(to[i], static_cast<float>(from[i]) * gelu_tanh_derivative(static_cast<float>(x[i])));
      }
    });
  });
}

}  // namespace tsugi::cpu
