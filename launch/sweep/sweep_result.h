// What a task of a sweep leaves behind when it has ended: its result.json, and how that is read again.
#pragma once

#include <optional>
#include <string>

#include "core/data/json.h"

namespace tsugi {

/// How fast a run was, and where; from `pretrain --json`. Zeros and empty texts where that is not known: results of
/// before this was kept, runs that diverged or were found complete.
struct RunSpeed {
  double tokens_per_second = 0.0;
  double mfu_palm = 0.0;    ///< of the measured rate of matrix products
  double mfu_causal = 0.0;  ///< counting half of attention's square (core/scaling/flops.h)
  int ranks = 0;
  int threads = 0;      ///< of each rank
  std::string program;  ///< version and checksum
  std::string host;     ///< of rank 0
  std::string processor;
};

/// From what `pretrain --json` printed, or a result.json.
RunSpeed read_speed(const JsonValue& json);

/// How a run ended.
struct RunResult {
  bool diverged = false;       ///< at half the learning rate too
  double loss = 0.0;           ///< nats per token on the validation data; NaN if it diverged
  double learning_rate = 0.0;  ///< of the attempt that ended it
  double seconds = 0.0;
  RunSpeed speed;
  std::string reason;  ///< of divergence: the last line of the log, or how far above guessing it ended
};

/// How the fine-tuning of a run ended.
struct DownstreamResult {
  bool diverged = false;
  double accuracy = 0.0;  ///< on the validation texts
  double majority = 0.0;  ///< of always saying the most frequent label
  double ngrams = 0.0;    ///< of naive Bayes on byte n-grams (core/downstream/baselines.h)
  double loss = 0.0;
  double seconds = 0.0;
};

/// The result.json of a folder; nothing if there is none. Error(kData) when it is of another task than `id`, or says
/// neither done nor diverged.
std::optional<JsonValue> read_task_result(const std::string& folder, const std::string& id);
/// Whether it says that the task diverged.
bool has_diverged(const JsonValue& result);

/// What a result.json says. Error(kData) where it is not of that kind.
RunResult run_result(const JsonValue& result);
DownstreamResult downstream_result(const JsonValue& result);

/// Writes result.json of the task `id`, durably.
void write_run_result(const std::string& folder, const std::string& id, const std::string& name,
                      const RunResult& result);
void write_downstream_result(const std::string& folder, const std::string& id, const std::string& run,
                             const DownstreamResult& result);
void write_segment_result(const std::string& folder, const std::string& id, const std::string& name, bool diverged,
                          double seconds);

}  // namespace tsugi
