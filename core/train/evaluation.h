// A model's loss on an objective's validation data, without a run around it.
#pragma once

#include <functional>

#include "core/objective/objective.h"

namespace tsugi {

/// The sums over all validation batches of the objective, or over those of its first `limit` sequences (0: all), on the
/// device, whose memory `memory` is and where the model's weights lie. `show`, if there is one, is called with every
/// batch, in host memory, after it was evaluated.
EvaluationSum evaluate_objective(Device device, ThreadPool& pool, Memory& memory, const Transformer& model,
                                 const Objective& objective, int64_t limit,
                                 const std::function<void(const Batch&)>& show = {});

}  // namespace tsugi
