#include "ops/part_bounds/part_bounds.h"

#include "ops/info_nce/score_chunks.h"
#include "ops/part_bounds/part_bounds_internal.h"
#include "ops/tensor/device_objectives.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

void check_parts(const PartScores& problem, const Tensor& facts) {
  CHECK(problem.wholes.shape().rank() == 2 && problem.parts.shape().rank() == 2);
  CHECK_EQ(problem.wholes.shape()[1], problem.parts.shape()[1]);
  CHECK(problem.wholes.dtype() == DType::kF32 && problem.parts.dtype() == DType::kF32);
  const int64_t rows = problem.wholes.shape()[0];
  const int64_t parts = problem.parts.shape()[0];
  CHECK(problem.whole_ids.shape() == Shape{rows} && problem.whole_ids.dtype() == DType::kI32);
  CHECK(problem.part_ids.shape() == Shape{parts} && problem.part_ids.dtype() == DType::kI32);
  CHECK(problem.parts_of_each >= 1 && problem.parts_of_each < parts) << "no others to compare with";
  CHECK((facts.shape() == Shape{rows, kPartFacts}) && facts.dtype() == DType::kF64);
}

}  // namespace

PartScores whole_rows(const PartScores& problem, int64_t first, int64_t count) {
  PartScores rows = problem;
  rows.wholes = matrix_rows(problem.wholes, first, count);
  rows.whole_ids = problem.whole_ids.slice(first, {count});
  return rows;
}

InfoNceSum part_bound(const Context& context, const PartScores& problem, const Tensor& facts, const Tensor& d_wholes) {
  check_parts(problem, facts);
  if (d_wholes.defined()) CHECK(d_wholes.shape() == problem.wholes.shape() && d_wholes.dtype() == DType::kF32);
  if (DeviceOperators* device = context.operators()) {
    const ProfiledOperator work(context, "part bounds", 0, {});
    return device->objectives().part_bound(context, problem, facts, d_wholes);
  }
  const int64_t chunk_rows = cross_entropy_chunk_rows(problem.wholes.shape()[0], problem.parts.shape()[0]);
  const Tensor losses = context.empty({chunk_rows}, DType::kF64);
  const Tensor nearest = context.empty({chunk_rows}, DType::kI32);
  InfoNceSum result;
  for_each_score_chunk(context, problem.wholes, problem.parts, [&](int64_t begin, const Tensor& chunk) {
    const int64_t count = chunk.shape()[0];
    if (!context.meta()) {
      const ProfiledOperator work(context, "part bounds", 0, {&chunk, &chunk});
      cpu::part_rows(context, problem, begin, d_wholes.defined(), chunk, losses, nearest, facts);
    }
    if (d_wholes.defined()) matmul(context, chunk, problem.parts, matrix_rows(d_wholes, begin, count));
    if (context.meta()) return;
    for (int64_t r = 0; r < count; ++r) {
      result.loss.sum += losses.data<double>()[r];
      result.nearest += nearest.data<int32_t>()[r];
    }
    result.loss.count += count;
  });
  return result;
}

void part_bound_part_gradient(const Context& context, const PartScores& problem, const Tensor& facts,
                              int64_t first_part, const Tensor& d_parts) {
  check_parts(problem, facts);
  const int64_t parts = d_parts.shape()[0];
  CHECK(d_parts.shape().rank() == 2 && d_parts.shape()[1] == problem.parts.shape()[1]);
  CHECK(d_parts.dtype() == DType::kF32);
  CHECK(first_part >= 0 && first_part + parts <= problem.parts.shape()[0]) << first_part << " + " << parts;
  if (DeviceOperators* device = context.operators()) {
    const ProfiledOperator work(context, "part bounds", 0, {});
    return device->objectives().part_bound_part_gradient(context, problem, facts, first_part, d_parts);
  }
  for_each_score_chunk(context, matrix_rows(problem.parts, first_part, parts), problem.wholes,
                       [&](int64_t begin, const Tensor& chunk) {
                         if (!context.meta()) {
                           const ProfiledOperator work(context, "part bounds", 0, {&chunk, &chunk});
                           cpu::part_columns(context, problem, first_part + begin, facts, chunk);
                         }
                         matmul(context, chunk, problem.wholes, matrix_rows(d_parts, begin, chunk.shape()[0]));
                       });
}

}  // namespace tsugi
