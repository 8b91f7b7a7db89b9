#include "ops/triplet/triplet.h"

#include "ops/info_nce/score_chunks.h"
#include "ops/tensor/device_objectives.h"
#include "ops/tensor/profile.h"
#include "ops/triplet/triplet_internal.h"

namespace tsugi {
namespace {

void check_triplets(const Triplets& problem, const Tensor& facts) {
  const InfoNce& pairs = problem.pairs;
  CHECK(pairs.queries.shape().rank() == 2 && pairs.keys.shape().rank() == 2);
  CHECK_EQ(pairs.queries.shape()[1], pairs.keys.shape()[1]);
  CHECK(pairs.queries.dtype() == DType::kF32 && pairs.keys.dtype() == DType::kF32);
  const Shape rows{pairs.queries.shape()[0]};
  CHECK(pairs.positives.shape() == rows && pairs.query_groups.shape() == rows);
  CHECK(pairs.key_groups.shape() == Shape{pairs.keys.shape()[0]});
  CHECK((facts.shape() == Shape{rows[0], kTripletFacts}) && facts.dtype() == DType::kF64);
  CHECK(pairs.temperature > 0.0f && !pairs.key_classes.defined());
}

}  // namespace

InfoNceSum triplet(const Context& context, const Triplets& problem, const Tensor& facts, const Tensor& d_queries) {
  check_triplets(problem, facts);
  const InfoNce& pairs = problem.pairs;
  if (d_queries.defined()) CHECK(d_queries.shape() == pairs.queries.shape() && d_queries.dtype() == DType::kF32);
  if (DeviceOperators* device = context.operators()) {
    const ProfiledOperator work(context, "triplets", 0, {});
    return device->objectives().triplet(context, problem, facts, d_queries);
  }
  const int64_t chunk_rows = cross_entropy_chunk_rows(pairs.queries.shape()[0], pairs.keys.shape()[0]);
  const Tensor losses = context.empty({chunk_rows}, DType::kF64);
  const Tensor nearest = context.empty({chunk_rows}, DType::kI32);
  InfoNceSum result;
  for_each_score_chunk(context, pairs.queries, pairs.keys, [&](int64_t begin, const Tensor& chunk) {
    const int64_t count = chunk.shape()[0];
    if (!context.meta()) {
      const ProfiledOperator work(context, "triplets", 0, {&chunk, &chunk});
      cpu::triplet_rows(context, problem, begin, d_queries.defined(), chunk, losses, nearest, facts);
    }
    if (d_queries.defined()) matmul(context, chunk, pairs.keys, matrix_rows(d_queries, begin, count));
    if (context.meta()) return;
    for (int64_t r = 0; r < count; ++r) {
      result.loss.sum += losses.data<double>()[r];
      result.loss.count += pairs.positives.data<int32_t>()[begin + r] != kIgnoreIndex;
      result.nearest += nearest.data<int32_t>()[r];
    }
  });
  return result;
}

void triplet_key_gradient(const Context& context, const Triplets& problem, const Tensor& facts, int64_t first_key,
                          const Tensor& d_keys) {
  check_triplets(problem, facts);
  const InfoNce& pairs = problem.pairs;
  const int64_t keys = d_keys.shape()[0];
  CHECK(d_keys.shape().rank() == 2 && d_keys.shape()[1] == pairs.keys.shape()[1] && d_keys.dtype() == DType::kF32);
  CHECK(first_key >= 0 && first_key + keys <= pairs.keys.shape()[0]) << first_key << " + " << keys;
  if (DeviceOperators* device = context.operators()) {
    const ProfiledOperator work(context, "triplets", 0, {});
    return device->objectives().triplet_key_gradient(context, problem, facts, first_key, d_keys);
  }
  for_each_score_chunk(context, matrix_rows(pairs.keys, first_key, keys), pairs.queries,
                       [&](int64_t begin, const Tensor& chunk) {
                         if (!context.meta()) {
                           const ProfiledOperator work(context, "triplets", 0, {&chunk, &chunk});
                           cpu::triplet_columns(context, problem, first_key + begin, facts, chunk);
                         }
                         matmul(context, chunk, pairs.queries, matrix_rows(d_keys, begin, chunk.shape()[0]));
                       });
}

}  // namespace tsugi
