#include "ops/info_nce/info_nce_on_cuda.h"
#include "ops/triplet/triplet.h"
#include "ops/triplet/triplet_cuda.h"

namespace tsugi::cuda {
namespace {

DeviceTriplets triplets_of(const Triplets& problem) {
  const InfoNce& pairs = problem.pairs;
  return {pairs.queries.shape()[0],
          pairs.keys.shape()[0],
          pairs.temperature,
          problem.form == TripletForm::kLogistic,
          problem.margin,
          pointer<int32_t>(pairs.positives),
          pointer<int32_t>(pairs.query_groups),
          pointer<int32_t>(pairs.key_groups)};
}

}  // namespace

InfoNceSum ObjectiveOperators::triplet(const Context& context, const Triplets& problem, const Tensor& facts,
                                       const Tensor& d_queries) {
  const InfoNce& pairs = problem.pairs;
  const int64_t rows = pairs.queries.shape()[0];
  const RowResults results(context, rows);
  const Tensor sums = row_sums(context);
  compare_rows(context, pairs.queries, pairs.keys, d_queries, [&](int64_t begin, const Tensor& scores) {
    triplet_rows(operators_->stream(), triplets_of(problem), begin, scores.shape()[0], d_queries.defined(),
                 pointer<float>(scores), pointer<double>(results.losses) + begin,
                 pointer<int32_t>(results.nearest) + begin, pointer<double>(facts));
  });
  if (context.meta()) return {};
  add_row_losses(operators_->stream(), pointer<double>(results.losses), pointer<int32_t>(pairs.positives),
                 pointer<int32_t>(results.nearest), rows, pointer<DeviceRowSums>(sums));
  return read_row_sums(sums);
}

void ObjectiveOperators::triplet_key_gradient(const Context& context, const Triplets& problem, const Tensor& facts,
                                              int64_t first_key, const Tensor& d_keys) {
  const Tensor keys = matrix_rows(problem.pairs.keys, first_key, d_keys.shape()[0]);
  compare_rows(context, keys, problem.pairs.queries, d_keys, [&](int64_t begin, const Tensor& scores) {
    triplet_columns(operators_->stream(), triplets_of(problem), first_key + begin, scores.shape()[0],
                    pointer<double>(facts), pointer<float>(scores));
  });
}

}  // namespace tsugi::cuda
