// What the ways of attention forward share on the CPU: the call, and how a row ends.
#pragma once

#include <algorithm>
#include <limits>

#include "ops/attention/attention_tiles.h"
#include "ops/base/thread_pool.h"
#include "ops/tensor/dropout_factors.h"

namespace tsugi::cpu {

/// A call of attention_forward().
struct Forward {
  AttentionShape shape;
  HeadsView q, k, v, out;
  Dropout dropout;
  float* log_sum_exp;  // null: not wanted
  float* workspace;    // null: not needed

  int64_t row_of(int64_t b, int64_t h, int64_t query) const {
    return (b * shape.heads + h) * shape.query_tokens + query;
  }
  /// The first dropout element of a query.
  int64_t element_of(int64_t h, int64_t query) const { return (h * shape.query_tokens + query) * shape.key_tokens; }
};

/// values *= the dropout factors of elements from `element` on; `factors` has room for `count`.
inline void drop(const Forward& f, int64_t b, int64_t element, float* values, int64_t count, float* factors) {
  dropout_factors(f.dropout, b, element, count, factors);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) values[i] *= factors[i];
}

template <class T>
void write_row(const Forward& f, int64_t b, int64_t h, int64_t query, const float* sums, float factor) {
  T* to = head_pointer<T>(f.out, b, h, query);
#pragma omp simd
  for (int64_t d = 0; d < f.shape.head_dim; ++d) store(to[d], sums[d] * factor);
}

/// For a query that sees no key.
template <class T>
void write_nothing(const Forward& f, int64_t b, int64_t h, int64_t query) {
  std::fill_n(head_pointer<T>(f.out, b, h, query), f.shape.head_dim, T(0.0f));
  if (f.log_sum_exp != nullptr) f.log_sum_exp[f.row_of(b, h, query)] = -std::numeric_limits<float>::infinity();
}

/// With the dot products of bf16 (is_native_bf16()); more than one query.
void run_native(const Forward& f, ThreadPool& pool);

/// One query per sample, as when decoding.
template <class T>
void run_single(const Forward& f, ThreadPool& pool);

}  // namespace tsugi::cpu
