// What a sweep takes from elsewhere: the results of an earlier sweep, and a labelled task.
#pragma once

#include <string>
#include <vector>

#include "core/scaling/plan/sweep_plan.h"

namespace tsugi {

/// Gives budgets with centred_sizes their sizes, by the fit of `first_stage` (a path from the folder `beside`):
/// runs.csv of a sweep, of which Chinchilla's law is fitted to the runs that are done and not held out, or any CSV with
/// columns n, d or c, and loss; or what `sweep fit --out` wrote, if it ends in .json. Compute is counted as those runs
/// count it. Throws Error(kUsage) for centred_sizes without a first_stage, or a first_stage that no budget uses; Errors
/// of reading and fitting.
void centre_on_first_stage(SweepConfig& sweep, const std::string& origin, const std::string& beside,
                           const RunConfig& base, std::vector<std::string>& notes);

/// Nothing when no task is named. Throws Error(kUsage) naming `origin` when one of the files is missing, and as
/// read_labelled_jsonl().
DownstreamFacts read_downstream_facts(const DownstreamConfig& task, const std::string& origin);

}  // namespace tsugi
