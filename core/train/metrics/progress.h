// What a person sees of a run: one live line on a terminal, plain lines in a file or pipe.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

#include "core/train/metrics/metrics.h"

namespace tsugi {

/// Whether `file` is a terminal that can rewrite a line.
bool is_terminal(std::FILE* file);

struct ProgressOptions {
  bool terminal = false;
  /// Plain lines: one every so many steps, beside the first and the last.
  int64_t every_steps = 10;
  /// Columns of the terminal; asked anew for every line. Absent: those of the file.
  std::function<int()> columns;
  /// Seconds that only grow. Absent: the steady clock.
  std::function<double()> clock;
};

/// Plain:  step 10/2000  loss 3.2101  lr 1.00e-04  norm 1.23  12.3k tok/s  mfu 34.5 %  eta 3m20s
/// Live:   step 10/2000 [=>        ] loss 3.2101  12.3k tok/s  mfu 34.5 %  3m20s left     (at most 10 times a second)
/// Evaluations are lines that stay, in both. Speed and MFU are the means since the last line; the time left is that
/// of the remaining steps at the pace of this attempt so far, evaluations and checkpoints included.
class Progress : public MetricsSink {
 public:
  /// `out` stays the caller's. What cannot be written is lost after one WARNING.
  Progress(std::FILE* out, ProgressOptions options);
  /// Ends the live line.
  ~Progress() override;
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void step(const StepMetrics& metrics) override;
  void evaluation(const EvaluationMetrics& metrics) override;
  void flush() override;

 private:
  /// Speed of the steps since the last line, weighted by their time.
  struct Pace {
    double tokens = 0.0;
    double useful_seconds = 0.0;
    double seconds = 0.0;
  };
  std::string plain_line(const StepMetrics& metrics) const;
  std::string live_line(const StepMetrics& metrics) const;
  std::string speed() const;
  std::string utilization() const;
  double seconds_left(const StepMetrics& metrics) const;
  void put(const std::string& text);

  std::FILE* out_;
  ProgressOptions options_;
  Pace pace_;
  int64_t first_step_ = 0;
  double first_time_ = 0.0;
  double last_live_ = -1.0;
  int64_t steps_ = 0;
  std::string live_;  ///< what stands on the live line
  bool warned_ = false;
};

/// "47s", "3m20s", "2h05m", "1d03h"; "?" for what is not a length of time.
std::string format_duration(double seconds);

/// "950", "12.3k", "3.74M", "1.20G".
std::string format_count(double count);

}  // namespace tsugi
