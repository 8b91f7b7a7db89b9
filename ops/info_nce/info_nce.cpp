#include "ops/info_nce/info_nce.h"

#include <algorithm>

#include "ops/base/error.h"
#include "ops/info_nce/info_nce_internal.h"
#include "ops/matmul/matmul.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

void check_info_nce(const Context& context, const InfoNce& problem, const Tensor& log_sums) {
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
  if (context.operators() != nullptr) {
    throw Error(ExitCode::kUsage, "InfoNCE is not built for CUDA", "set compute.device: CPU");
  }
}

Tensor matrix_rows(const Tensor& matrix, int64_t begin, int64_t count) {
  return matrix.slice(begin * matrix.shape()[1], {count, matrix.shape()[1]});
}

}  // namespace

InfoNceSum info_nce(const Context& context, const InfoNce& problem, const Tensor& log_sums, const Tensor& d_queries) {
  check_info_nce(context, problem, log_sums);
  const int64_t rows = problem.queries.shape()[0];
  const int64_t keys = problem.keys.shape()[0];
  if (d_queries.defined()) CHECK(d_queries.shape() == problem.queries.shape() && d_queries.dtype() == DType::kF32);
  const int64_t chunk_rows = cross_entropy_chunk_rows(rows, keys);
  const Tensor scores = context.empty({chunk_rows, keys}, DType::kF32);
  const Tensor losses = context.empty({chunk_rows}, DType::kF64);
  const Tensor nearest = context.empty({chunk_rows}, DType::kI32);
  InfoNceSum result;
  for (int64_t begin = 0; begin < rows; begin += chunk_rows) {
    const int64_t count = std::min(chunk_rows, rows - begin);
    const Tensor chunk = matrix_rows(scores, 0, count);
    matmul(context, matrix_rows(problem.queries, begin, count), problem.keys, chunk, {.transpose_b = true});
    if (!context.meta()) {
      const ProfiledOperator work("InfoNCE", 0, {&chunk, &chunk});
      cpu::info_nce_rows(context, problem, begin, d_queries.defined(), chunk, losses, nearest, log_sums);
    }
    if (d_queries.defined()) matmul(context, chunk, problem.keys, matrix_rows(d_queries, begin, count));
    if (context.meta()) continue;
    for (int64_t r = 0; r < count; ++r) {
      result.loss.sum += losses.data<double>()[r];
      result.loss.count += problem.positives.data<int32_t>()[begin + r] != kIgnoreIndex;
      result.nearest += nearest.data<int32_t>()[r];
    }
  }
  return result;
}

void info_nce_key_gradient(const Context& context, const InfoNce& problem, const Tensor& log_sums, int64_t first_key,
                           const Tensor& d_keys) {
  check_info_nce(context, problem, log_sums);
  const int64_t rows = problem.queries.shape()[0];
  const int64_t keys = d_keys.shape()[0];
  CHECK(d_keys.shape().rank() == 2 && d_keys.shape()[1] == problem.keys.shape()[1] && d_keys.dtype() == DType::kF32);
  CHECK(first_key >= 0 && first_key + keys <= problem.keys.shape()[0]) << first_key << " + " << keys;
  const int64_t chunk_keys = cross_entropy_chunk_rows(keys, rows);
  const Tensor scores = context.empty({chunk_keys, rows}, DType::kF32);
  for (int64_t begin = 0; begin < keys; begin += chunk_keys) {
    const int64_t count = std::min(chunk_keys, keys - begin);
    const Tensor chunk = matrix_rows(scores, 0, count);
    matmul(context, matrix_rows(problem.keys, first_key + begin, count), problem.queries, chunk, {.transpose_b = true});
    if (!context.meta()) {
      const ProfiledOperator work("InfoNCE", 0, {&chunk, &chunk});
      cpu::info_nce_columns(context, problem, first_key + begin, log_sums, chunk);
    }
    matmul(context, chunk, problem.queries, matrix_rows(d_keys, begin, count));
  }
}

}  // namespace tsugi
