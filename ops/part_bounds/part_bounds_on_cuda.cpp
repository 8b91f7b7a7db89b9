#include "ops/info_nce/info_nce_on_cuda.h"
#include "ops/part_bounds/part_bounds.h"
#include "ops/part_bounds/part_bounds_cuda.h"

namespace tsugi::cuda {
namespace {

DeviceParts parts_of(const PartScores& problem) {
  return {problem.wholes.shape()[0],
          problem.parts.shape()[0],
          pointer<int32_t>(problem.whole_ids),
          pointer<int32_t>(problem.part_ids),
          problem.parts_of_each,
          problem.bound == PartBound::kInfoNce,
          problem.scale,
          problem.clip,
          problem.penalty,
          problem.weight};
}

}  // namespace

InfoNceSum ObjectiveOperators::part_bound(const Context& context, const PartScores& problem, const Tensor& facts,
                                          const Tensor& d_wholes) {
  const int64_t rows = problem.wholes.shape()[0];
  const RowResults results(context, rows);
  const Tensor sums = row_sums(context);
  compare_rows(context, problem.wholes, problem.parts, d_wholes, [&](int64_t begin, const Tensor& scores) {
    part_rows(operators_->stream(), parts_of(problem), begin, scores.shape()[0], d_wholes.defined(),
              pointer<float>(scores), pointer<double>(results.losses) + begin,
              pointer<int32_t>(results.nearest) + begin, pointer<double>(facts));
  });
  if (context.meta()) return {};
  add_row_losses(operators_->stream(), pointer<double>(results.losses), nullptr, pointer<int32_t>(results.nearest),
                 rows, pointer<DeviceRowSums>(sums));
  return read_row_sums(sums);
}

void ObjectiveOperators::part_bound_part_gradient(const Context& context, const PartScores& problem,
                                                  const Tensor& facts, int64_t first_part, const Tensor& d_parts) {
  const Tensor parts = matrix_rows(problem.parts, first_part, d_parts.shape()[0]);
  compare_rows(context, parts, problem.wholes, d_parts, [&](int64_t begin, const Tensor& scores) {
    part_columns(operators_->stream(), parts_of(problem), first_part + begin, scores.shape()[0], pointer<double>(facts),
                 pointer<float>(scores));
  });
}

}  // namespace tsugi::cuda
