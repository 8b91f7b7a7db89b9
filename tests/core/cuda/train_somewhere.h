// The real trainer, alone, on a device or on the CPU, with its losses kept.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/train/trainer.h"

namespace tsugi::testing {

/// Where it computes (null: the CPU) and what it writes.
struct Where {
  DeviceOperators* device = nullptr;
  std::string run_directory = {};
  WorkRecorder* recorder = nullptr;
};

struct Outcome {
  std::vector<double> losses;       ///< of every step
  std::vector<double> evaluations;  ///< their losses
  TrainerResult result;
};

class LossRecorder : public MetricsSink {
 public:
  explicit LossRecorder(Outcome& outcome) : outcome_(outcome) {}
  void step(const StepMetrics& metrics) override { outcome_.losses.push_back(metrics.loss); }
  void evaluation(const EvaluationMetrics& metrics) override { outcome_.evaluations.push_back(metrics.loss); }
  void flush() override {}

 private:
  Outcome& outcome_;
};

/// Trains; `options` say what, `where` the rest.
inline Outcome train_somewhere(Objective& objective, TrainerOptions options, const Where& where) {
  Outcome outcome;
  options.device = {.operators = where.device};
  options.run_directory = where.run_directory;
  options.recorder = where.recorder;
  options.make_sinks = [&](int64_t) {
    std::vector<std::unique_ptr<MetricsSink>> sinks;
    sinks.push_back(std::make_unique<LossRecorder>(outcome));
    return sinks;
  };
  const std::unique_ptr<Communicator> communicator = make_local_communicator();
  ThreadPool pool(1);
  outcome.result = train(*communicator, pool, objective, options);
  return outcome;
}

/// Losses of the same steps in f32, whose sums have other orders.
inline void expect_close(const std::vector<double>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], 1e-5 * std::abs(expected[i])) << "number " << i;
  }
}

}  // namespace tsugi::testing
