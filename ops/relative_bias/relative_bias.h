// What attention adds to its scores for each distance between a query and a key (Raffel et al. 2020, section 2.1): a
// learned number for each head and each of a few buckets of distances.
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

/// How distances (key - query) fall into buckets. The least ones have a bucket each, those beyond share one for each
/// step of their logarithm, up to max_distance. Bidirectional: half of the buckets are for keys behind the query.
/// Otherwise keys behind it, which nobody sees, are in bucket 0.
struct RelativeBuckets {
  int64_t buckets = 32;
  int64_t max_distance = 128;
  bool bidirectional = true;

  /// Distances with a bucket of their own, on each side; at least one, and less than max_distance (checked).
  int64_t exact() const { return (bidirectional ? buckets / 2 : buckets) / 2; }
  /// In float, as transformers and the authors' code have it.
  int64_t bucket_of(int64_t distance) const;
};

/// bias[h, c] = table[bucket of distance c - (key_tokens - 1), h]: table [buckets, heads] f32 or bf16, bias f32
/// [heads, key_tokens + query_tokens - 1], as AttentionShape::relative_bias has it.
void relative_bias_forward(const Context& context, const RelativeBuckets& buckets, const Tensor& table,
                           int64_t key_tokens, const Tensor& bias);

/// d_table f32 [buckets, heads] += sums of d_bias over the distances of each bucket, the lowest first.
void relative_bias_backward(const Context& context, const RelativeBuckets& buckets, const Tensor& d_bias,
                            int64_t key_tokens, const Tensor& d_table);

namespace reference {
/// The bucket in exact arithmetic: the highest one whose lower end the distance reaches.
int64_t relative_bucket(const RelativeBuckets& buckets, int64_t distance);
}  // namespace reference

}  // namespace tsugi
