// The second stage of a sweep: sizes around the optimum that the first stage's fit has for each budget. An optimum in
// the middle of its sizes is what parabolas (Hoffmann et al. 2022, approach 2) are right about; where grids drift off
// centre, their exponents are biased.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/config/run.pb.h"
#include "core/config/sweep.pb.h"

namespace tsugi {

/// Replaces every budget's centred_sizes by names of sizes, which it adds to the sweep where they are not there: shapes
/// of the rule, log-spaced over `spread` around optimal_n(flops), N counted as PlannedRun::parameters_in_products. Says
/// in `notes` what each budget was centred on. Throws Error(kUsage) naming `origin`: names beside centred_sizes, a head
/// width that does not divide width_multiple, sizes that the rule has nothing near (a factor of 2), a name that another
/// shape has.
void centre_sizes(SweepConfig& sweep, const std::string& origin, const RunConfig& base,
                  const std::function<double(double flops)>& optimal_n, std::vector<std::string>& notes);

}  // namespace tsugi
