#include "ops/score_bounds/score_bounds.h"

#include "ops/base/error.h"
#include "ops/score_bounds/score_bounds_internal.h"

namespace tsugi {

double score_bound(const Context& context, ScoreBound kind, const Tensor& scores, const Tensor& d_scores,
                   ScoreAverage* average) {
  CHECK(scores.shape().rank() == 2 && scores.shape()[0] == scores.shape()[1]) << scores.shape().to_string();
  CHECK_GE(scores.shape()[0], 2) << "nothing but pairs that belong together";
  CHECK(scores.dtype() == DType::kF32);
  if (d_scores.defined()) CHECK(d_scores.shape() == scores.shape() && d_scores.dtype() == DType::kF32);
  CHECK(average == nullptr || kind == ScoreBound::kDonskerVaradhan);
  if (context.operators() != nullptr) {
    throw Error(ExitCode::kUsage, "bounds of mutual information are not built for CUDA", "set compute.device: CPU");
  }
  const Tensor row_sums = context.empty({scores.shape()[0]}, DType::kF64);
  if (context.meta()) return 0.0;
  return cpu::score_bound(context, kind, scores, d_scores, average, row_sums);
}

}  // namespace tsugi
