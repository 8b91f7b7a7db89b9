#include "ops/info_nce/info_nce_on_cuda.h"

#include "ops/info_nce/info_nce.h"
#include "ops/info_nce/info_nce_cuda.h"

namespace tsugi::cuda {
namespace {

DeviceInfoNce info_nce_of(const InfoNce& problem) {
  return {problem.queries.shape()[0],
          problem.keys.shape()[0],
          problem.temperature,
          pointer<int32_t>(problem.positives),
          pointer<int32_t>(problem.query_groups),
          pointer<int32_t>(problem.key_groups),
          pointer<int32_t>(problem.query_classes),
          pointer<int32_t>(problem.key_classes),
          pointer<int32_t>(problem.positive_counts)};
}

}  // namespace

InfoNceSum ObjectiveOperators::info_nce(const Context& context, const InfoNce& problem, const Tensor& log_sums,
                                        const Tensor& d_queries) {
  const int64_t rows = problem.queries.shape()[0];
  const RowResults results(context, rows);
  const Tensor sums = row_sums(context);
  compare_rows(context, problem.queries, problem.keys, d_queries, [&](int64_t begin, const Tensor& scores) {
    info_nce_rows(operators_->stream(), info_nce_of(problem), begin, scores.shape()[0], d_queries.defined(),
                  pointer<float>(scores), pointer<double>(results.losses) + begin,
                  pointer<int32_t>(results.nearest) + begin, pointer<double>(log_sums));
  });
  if (context.meta()) return {};
  add_row_losses(operators_->stream(), pointer<double>(results.losses), pointer<int32_t>(problem.positives),
                 pointer<int32_t>(results.nearest), rows, pointer<DeviceRowSums>(sums));
  return read_row_sums(sums);
}

void ObjectiveOperators::info_nce_key_gradient(const Context& context, const InfoNce& problem, const Tensor& log_sums,
                                               int64_t first_key, const Tensor& d_keys) {
  const Tensor keys = matrix_rows(problem.keys, first_key, d_keys.shape()[0]);
  compare_rows(context, keys, problem.queries, d_keys, [&](int64_t begin, const Tensor& scores) {
    info_nce_columns(operators_->stream(), info_nce_of(problem), first_key + begin, scores.shape()[0],
                     pointer<double>(log_sums), pointer<float>(scores));
  });
}

}  // namespace tsugi::cuda
