// From a sweep file to its runs: shapes, steps from exact FLOPs, learning rates, identities.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/config/run.pb.h"
#include "core/config/sweep.pb.h"

namespace tsugi {

struct PlannedRun {
  std::string id;    ///< 16 hexadecimal digits: a hash of the whole configuration and of the data's fingerprint
  std::string name;  ///< "c1e+12-w64-s1337": budget, size and seed
  std::string size;
  double budget = 0.0;
  bool held_out = false;
  RunConfig config;

  int64_t parameters = 0;              ///< all
  int64_t parameters_in_products = 0;  ///< N of C = 6 N D: without the position table and, untied, the token table
  int64_t parameters_in_blocks = 0;    ///< of these, those that are not the projection to the vocabulary
  double tokens = 0.0;                 ///< D
  double flops = 0.0;                  ///< PaLM convention; within 1 % of the budget
  double flops_6nd = 0.0;
};

struct SweepPlan {
  std::vector<PlannedRun> runs;  ///< budgets ascending as written, sizes as written, seeds ascending
  double flops = 0.0;            ///< of all of them
};

/// `base` is as it was read but for its vocabulary, which must be known (what its family derives from the width is not
/// filled in yet), and `fingerprint` is that of its objective. Throws Error(kUsage)
/// naming `origin` and the field: no sizes or budgets, two of one name, a size that is not there, a run that is the
/// same as another, heads that do not divide the width, a budget that steps of this batch cannot meet within 1 %, more
/// than most_flops.
SweepPlan plan_sweep(const SweepConfig& sweep, const std::string& origin, const RunConfig& base,
                     const std::map<std::string, std::string>& fingerprint);

}  // namespace tsugi
