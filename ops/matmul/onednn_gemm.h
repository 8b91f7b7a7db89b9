// One matrix product on the calling thread, by oneDNN. No other file knows that library.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/tensor/dtype.h"

namespace tsugi {

/// c[m, n] (+)= op(a)[m, k] · op(b)[k, n], row-major; a is stored [k, m] if transpose_a, b [n, k] if transpose_b.
/// Leading dimensions are the distances between stored rows, in elements. All extents are at least 1.
struct GemmShape {
  int64_t m = 0, n = 0, k = 0;
  int64_t lda = 0, ldb = 0, ldc = 0;
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;

  bool operator==(const GemmShape&) const = default;
};

/// Runs on the calling thread alone: oneDNN's own threads would make the order of summation depend on their number.
void gemm_f32(const GemmShape& shape, const float* a, const float* b, float* c);

/// The same product through a oneDNN primitive, f32 or bf16 times the same with f32 sums. Making a primitive takes
/// about a millisecond: each thread keeps those of the shapes that it has seen. bf16 needs bf16_gemm_is_native().
template <class T>
void gemm_primitive(const GemmShape& shape, const T* a, const T* b, float* c);

/// Whether gemm_primitive<bf16> runs on the dot-product instructions of this CPU (avx512_bf16, amx). Without them
/// oneDNN refuses, or is several times slower than f32.
bool bf16_gemm_is_native();

/// How many primitives the calling thread keeps: never more than kMostPrimitives.
size_t kept_primitives();
inline constexpr size_t kMostPrimitives = 512;

}  // namespace tsugi
