// What a run reports, and to whom.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tsugi {

/// One optimizer step.
struct StepMetrics {
  int64_t step = 0;    ///< optimizer steps done, 1 after the first
  int64_t steps = 0;   ///< of how many
  int64_t tokens = 0;  ///< training tokens seen so far in the whole run
  double loss = 0.0;   ///< nats per target
  double learning_rate = 0.0;
  double gradient_norm = 0.0;  ///< before clipping
  double seconds = 0.0;        ///< of this step
  double tokens_per_second = 0.0;
  double mfu = 0.0;              ///< PaLM convention, against the measured matrix-product rate of all ranks
  double exposed_seconds = 0.0;  ///< of this step: waiting for gradients of other ranks
};

/// Named results, in the order in which they are shown: shares between 0 and 1, and losses, whose names end in "_loss".
using Scores = std::vector<std::pair<std::string, double>>;

/// One evaluation on the validation data.
struct EvaluationMetrics {
  int64_t step = 0;
  double loss = 0.0;               ///< nats per target
  std::optional<double> accuracy;  ///< where the objective predicts classes
  Scores scores = {};              ///< of the objective's parts, and of the tasks that the model is asked on the way
};

/// Takes what a run reports. Reporting never ends a run: sinks warn once and go on.
class MetricsSink {
 public:
  virtual ~MetricsSink() = default;
  virtual void step(const StepMetrics& metrics) = 0;
  virtual void evaluation(const EvaluationMetrics& metrics) = 0;
  /// Everything reported so far is on its way to the disk or screen.
  virtual void flush() = 0;
};

}  // namespace tsugi
