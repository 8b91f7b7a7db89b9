#include "ops/cuda/operators.h"
#include "ops/score_bounds/score_bounds.h"
#include "ops/score_bounds/score_bounds_cuda.h"

namespace tsugi::cuda {
namespace {

static_assert(static_cast<int>(DeviceScoreBound::kNwj) == static_cast<int>(ScoreBound::kNwj) &&
              static_cast<int>(DeviceScoreBound::kJsd) == static_cast<int>(ScoreBound::kJsd) &&
              static_cast<int>(DeviceScoreBound::kInfoNce) == static_cast<int>(ScoreBound::kInfoNce));

DeviceScoreBound on_device(ScoreBound kind) { return static_cast<DeviceScoreBound>(kind); }

}  // namespace

void ObjectiveOperators::score_rows(const Context& context, ScoreBound kind, const Tensor& scores,
                                    const Tensor& facts) {
  if (context.meta()) return;
  cuda::score_rows(operators_->stream(), on_device(kind), pointer<float>(scores), scores.shape()[0],
                   pointer<double>(facts));
}

void ObjectiveOperators::score_slopes(const Context& context, ScoreBound kind, const Tensor& scores,
                                      const Tensor& levels, const Tensor& d_scores) {
  if (context.meta()) return;
  cuda::score_slopes(operators_->stream(), on_device(kind), pointer<float>(scores), pointer<double>(levels),
                     scores.shape()[0], pointer<float>(d_scores));
}

}  // namespace tsugi::cuda
