// Where a run reports to.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/config/run.pb.h"
#include "core/train/metrics/metrics.h"

namespace tsugi {

/// metrics.jsonl and TensorBoard events in the run directory, and progress on standard output (on standard error when
/// `json`: then standard output carries the result alone).
std::vector<std::unique_ptr<MetricsSink>> make_run_sinks(const std::string& run_directory, int64_t start_step,
                                                         const RunConfig& config, bool json);

}  // namespace tsugi
