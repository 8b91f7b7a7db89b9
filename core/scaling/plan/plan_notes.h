// What a reader of a plan should know before its runs are trained: what no fit of them will be able to tell.
#pragma once

#include <string>
#include <vector>

#include "core/scaling/plan/sweep_plan.h"

namespace tsugi {

/// One sentence for each of these, with what to add: one size; one budget; a ladder of one ratio; fitted isoFLOP
/// budgets of fewer than four sizes, the least that fit_isoflop() takes; held-out runs that are not larger than the
/// largest fitted one, which test interpolation.
std::vector<std::string> plan_notes(const SweepPlan& plan);

}  // namespace tsugi
