#include "ops/info_nce/info_nce.h"

#include "ops/info_nce/info_nce_internal.h"
#include "ops/info_nce/score_chunks.h"
#include "ops/matmul/matmul.h"
#include "ops/tensor/device_objectives.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

void check_info_nce(const InfoNce& problem, const Tensor& log_sums) {
  CHECK_EQ(problem.queries.shape().rank(), 2);
  CHECK_EQ(problem.keys.shape().rank(), 2);
  CHECK_EQ(problem.queries.shape()[1], problem.keys.shape()[1]);
  CHECK(problem.queries.dtype() == DType::kF32 && problem.keys.dtype() == DType::kF32);
  const Shape rows{problem.queries.shape()[0]};
  CHECK(problem.positives.shape() == rows && problem.positives.dtype() == DType::kI32);
  CHECK(problem.query_groups.shape() == rows && problem.query_groups.dtype() == DType::kI32);
  CHECK(problem.key_groups.shape() == Shape{problem.keys.shape()[0]} && problem.key_groups.dtype() == DType::kI32);
  CHECK(log_sums.shape() == rows && log_sums.dtype() == DType::kF64);
  CHECK_GT(problem.temperature, 0.0f);
  if (problem.key_classes.defined()) {
    CHECK(problem.query_classes.shape() == rows && problem.query_classes.dtype() == DType::kI32);
    CHECK(problem.positive_counts.shape() == rows && problem.positive_counts.dtype() == DType::kI32);
    CHECK(problem.key_classes.shape() == problem.key_groups.shape() && problem.key_classes.dtype() == DType::kI32);
  }
}

}  // namespace

InfoNce query_rows(const InfoNce& problem, int64_t first, int64_t count) {
  InfoNce part = problem;
  part.queries = matrix_rows(problem.queries, first, count);
  part.positives = problem.positives.slice(first, {count});
  part.query_groups = problem.query_groups.slice(first, {count});
  if (problem.key_classes.defined()) {
    part.query_classes = problem.query_classes.slice(first, {count});
    part.positive_counts = problem.positive_counts.slice(first, {count});
  }
  return part;
}

InfoNceSum info_nce(const Context& context, const InfoNce& problem, const Tensor& log_sums, const Tensor& d_queries) {
  check_info_nce(problem, log_sums);
  const int64_t rows = problem.queries.shape()[0];
  const int64_t keys = problem.keys.shape()[0];
  if (d_queries.defined()) CHECK(d_queries.shape() == problem.queries.shape() && d_queries.dtype() == DType::kF32);
  if (DeviceOperators* device = context.operators()) {
    const ProfiledOperator work(context, "InfoNCE", 0, {});
    return device->objectives().info_nce(context, problem, log_sums, d_queries);
  }
  const int64_t chunk_rows = cross_entropy_chunk_rows(rows, keys);
  const Tensor losses = context.empty({chunk_rows}, DType::kF64);
  const Tensor nearest = context.empty({chunk_rows}, DType::kI32);
  InfoNceSum result;
  for_each_score_chunk(context, problem.queries, problem.keys, [&](int64_t begin, const Tensor& chunk) {
    const int64_t count = chunk.shape()[0];
    if (!context.meta()) {
      const ProfiledOperator work(context, "InfoNCE", 0, {&chunk, &chunk});
      cpu::info_nce_rows(context, problem, begin, d_queries.defined(), chunk, losses, nearest, log_sums);
    }
    if (d_queries.defined()) matmul(context, chunk, problem.keys, matrix_rows(d_queries, begin, count));
    if (context.meta()) return;
    for (int64_t r = 0; r < count; ++r) {
      result.loss.sum += losses.data<double>()[r];
      result.loss.count += problem.positives.data<int32_t>()[begin + r] != kIgnoreIndex;
      result.nearest += nearest.data<int32_t>()[r];
    }
  });
  return result;
}

void info_nce_key_gradient(const Context& context, const InfoNce& problem, const Tensor& log_sums, int64_t first_key,
                           const Tensor& d_keys) {
  check_info_nce(problem, log_sums);
  const int64_t keys = d_keys.shape()[0];
  CHECK(d_keys.shape().rank() == 2 && d_keys.shape()[1] == problem.keys.shape()[1] && d_keys.dtype() == DType::kF32);
  CHECK(first_key >= 0 && first_key + keys <= problem.keys.shape()[0]) << first_key << " + " << keys;
  if (DeviceOperators* device = context.operators()) {
    const ProfiledOperator work(context, "InfoNCE", 0, {});
    return device->objectives().info_nce_key_gradient(context, problem, log_sums, first_key, d_keys);
  }
  for_each_score_chunk(context, matrix_rows(problem.keys, first_key, keys), problem.queries,
                       [&](int64_t begin, const Tensor& chunk) {
                         if (!context.meta()) {
                           const ProfiledOperator work(context, "InfoNCE", 0, {&chunk, &chunk});
                           cpu::info_nce_columns(context, problem, first_key + begin, log_sums, chunk);
                         }
                         matmul(context, chunk, problem.queries, matrix_rows(d_keys, begin, chunk.shape()[0]));
                       });
}

}  // namespace tsugi
