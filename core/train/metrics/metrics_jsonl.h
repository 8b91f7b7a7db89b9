// metrics.jsonl: every step and every evaluation as one JSON object per line.
#pragma once

#include <cstdint>
#include <string>

#include "core/train/metrics/append_file.h"
#include "core/train/metrics/metrics.h"

namespace tsugi {

/// Lines of two kinds, told apart by their keys:
///   {"step":1,"tokens":768,"loss":4.25,"learning_rate":1e-05,"grad_norm":2.5,"tokens_per_second":9000.5,
///    "mfu":0.25,"seconds":0.085,"exposed_seconds":0.001}
///   {"step":250,"validation_loss":2.5}            and "validation_accuracy" where there is one, and
///                                                 scores by name
/// Numbers are the shortest that read back as the same double. A number that is not finite is null, and the line then
/// ends in "nonfinite":true.
class MetricsJsonl : public MetricsSink {
 public:
  /// Goes on with an earlier attempt's file: lines beyond `start_step` belong to steps that are done again and go, as
  /// does what a crash left unreadable (the file is then rewritten durably). Loses the file's tail rather than the run:
  /// a failure is a WARNING.
  MetricsJsonl(const std::string& path, int64_t start_step);

  void step(const StepMetrics& metrics) override;
  void evaluation(const EvaluationMetrics& metrics) override;
  void flush() override;

 private:
  AppendFile file_;
};

}  // namespace tsugi
