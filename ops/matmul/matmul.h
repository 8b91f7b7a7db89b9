// Matrix product with fused bias, GELU and accumulation.
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

/// Options of matmul().
struct MatmulOptions {
  bool transpose_a = false;    ///< a is stored [K, M]
  bool transpose_b = false;    ///< b is stored [N, K]
  bool accumulate = false;     ///< out += instead of out =; out must be f32; excludes bias and GELU
  Tensor bias = {};            ///< [N], type of a and b; undefined: none
  Tensor pre_activation = {};  ///< [M, N], type of out: if defined, receives a·b + bias, and out receives its GELU
  Tensor gelu_backward = {};   ///< [M, N], type of out: if defined, out = a·b · GELU'(it); excludes all of the above
};

/// out[M, N] = op(a)[M, K] · op(b)[K, N] (+ bias, then GELU in its tanh form).
/// a and b are both f32 or both bf16; out is f32 or the type of a. Sums are formed in f32.
/// The result does not depend on the number of threads: tiles and K chunks are functions of (M, N, K) alone.
void matmul(const Context& context, const Tensor& a, const Tensor& b, const Tensor& out,
            const MatmulOptions& options = {});

/// How bf16 products are formed here: "native" (the CPU's bf16 dot products) or "f32" (converted up tile by tile).
const char* matmul_bf16_path();

namespace reference {
/// out[M, N] (+)= op(a) · op(b) in double; row-major.
void matmul(int64_t m, int64_t n, int64_t k, std::span<const double> a, bool transpose_a, std::span<const double> b,
            bool transpose_b, std::span<double> out, bool accumulate);
}  // namespace reference

}  // namespace tsugi
