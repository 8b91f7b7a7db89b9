// TensorBoard: one event file per attempt, in the folder that `tensorboard --logdir` is given.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/train/metrics/append_file.h"
#include "core/train/metrics/metrics.h"

namespace tsugi {

/// Scalars loss, learning_rate, grad_norm, tokens_per_second and mfu of every step; validation_loss and
/// validation_accuracy. A file is a row of records: u64 length, u32 masked CRC32C of the length, the Event
/// (event.proto), u32 masked CRC32C of it; little endian (tensorflow/core/lib/io/record_writer.h).
class TensorBoard : public MetricsSink {
 public:
  /// Creates `folder` (a failure is a WARNING) and in it events.out.tfevents.SECONDS.HOST.PID. A resumed run
  /// (start_step > 0) begins with a record that voids what earlier attempts reported after `start_step`.
  /// `clock`: seconds since 1970.
  TensorBoard(const std::string& folder, int64_t start_step, std::function<double()> clock = wall_clock);

  void step(const StepMetrics& metrics) override;
  void evaluation(const EvaluationMetrics& metrics) override;
  void flush() override;

  const std::string& path() const { return file_.path(); }
  static double wall_clock();

 private:
  std::function<double()> clock_;
  AppendFile file_;
};

}  // namespace tsugi
