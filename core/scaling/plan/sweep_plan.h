// From a sweep file to its runs: shapes, steps from exact FLOPs, learning rates, identities.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/config/run.pb.h"
#include "core/config/sweep.pb.h"

namespace tsugi {

/// A piece of a trunk, which runs of one size and seed have in common: trained at the constant rate from where the
/// piece before it ended (or from random weights) to where a run branches off.
struct PlannedSegment {
  std::string id;    ///< as a run's
  std::string name;  ///< "trunk-w64-s1337-1200": size, seed and the step at which it ends
  RunConfig config;
  int64_t first_step = 0;
  int before = -1;     ///< index of the segment that it goes on from, or -1
  double flops = 0.0;  ///< of its own steps
};

struct PlannedRun {
  std::string id;  ///< 16 hexadecimal digits: a hash of the whole configuration and of the data's fingerprint
  std::string
      name;  ///< "c1e+12-w64-s1337": budget ("r20": tokens per parameter), size, seed and, of a grid, "-lr0.003-b4096"
  std::string size;
  std::string setting;  ///< "-lr0.003-b4096": of a grid, as the name ends; else empty
  double budget = 0.0;  ///< FLOPs: those asked for; of a ladder, its own
  double ratio = 0.0;   ///< tokens per parameter of a ladder; 0: of a budget
  bool held_out = false;
  RunConfig config;

  int64_t parameters = 0;                 ///< all
  int64_t parameters_in_products = 0;     ///< N of C = 6 N D: without the position table and, untied, the token table
  int64_t parameters_in_blocks = 0;       ///< of these, those that are not the projection to the vocabulary
  double tokens = 0.0;                    ///< D
  double flops = 0.0;                     ///< PaLM convention; within 1 % of the budget
  double flops_causal = 0.0;              ///< half of attention's square (core/scaling/flops.h)
  double flops_6nd = 0.0;                 ///< 6 N D
  double flops_without_embeddings = 0.0;  ///< 6 N D of the N in blocks (Kaplan et al. 2020, section 2.1)

  int segment = -1;        ///< index of the segment that it branches off from, or -1: it is trained as a whole
  int64_t first_step = 0;  ///< where it branches off
  double cost = 0.0;       ///< FLOPs of the steps that are its own

  std::string downstream_id;      ///< of its fine-tuning: a hash of the run and the task; empty: there is no task
  double downstream_flops = 0.0;  ///< at most: as if every example filled the context
};

struct SweepPlan {
  /// Budgets, then ladders, as written; in each, sizes as written, seeds ascending, a grid's settings as written.
  std::vector<PlannedRun> runs;
  std::vector<PlannedSegment> segments;  ///< each after the one that it goes on from
  double flops = 0.0;                    ///< of all of it, shared steps counted once
  double flops_apart = 0.0;              ///< if nothing were shared
};

/// What a plan must know of a labelled task.
struct DownstreamFacts {
  std::string fingerprint;  ///< of both files
  int64_t examples = 0;     ///< to train on
};

/// `base` is as it was read but for its vocabulary, which must be known (what its family derives from the width is not
/// filled in yet), and `fingerprint` is that of its objective. Throws Error(kUsage)
/// naming `origin` and the field: no sizes or budgets, two of one name, a size that is not there, a run that is the
/// same as another, heads that do not divide the width, a budget or length that steps of this batch cannot meet within
/// 1 %, a batch of a grid that is no whole number of micro-batches, all runs held out, a warm-up that does not end
/// before the decay begins, more than most_flops.
SweepPlan plan_sweep(const SweepConfig& sweep, const std::string& origin, const RunConfig& base,
                     const std::map<std::string, std::string>& fingerprint, const DownstreamFacts& downstream = {});

}  // namespace tsugi
