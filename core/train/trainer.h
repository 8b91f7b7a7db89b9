// The training loop: there is one, for every objective.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/train/engine.h"
#include "core/train/metrics/metrics.h"

namespace tsugi {

/// What to train, from where and to where.
struct TrainerOptions {
  RunConfig config;                             ///< validated, vocabulary resolved
  Device device = {};                           ///< what computes; its operators outlive the training
  Communicator* device_communicator = nullptr;  ///< of the device's memory; null: by way of the host
  WorkRecorder* recorder = nullptr;             ///< of the device; null: every kernel is launched by itself
  std::string run_directory;                    ///< empty: nothing is kept on disk
  std::string resume = "auto";  ///< auto: the newest intact checkpoint, if any; never; or a checkpoint folder
  std::string start_from;       ///< checkpoint to go on from, step and all, when `resume` finds none; empty: begin anew
  std::string initial_weights;  ///< folder with the weights to begin with when nothing is resumed; empty: random
  std::function<bool(const ParameterInfo&)> frozen;  ///< empty: everything is trained
  std::map<std::string, std::string> texts;          ///< files of every checkpoint: config.json, tokenizer.json
  bool evaluate_first = false;                       ///< also before the first step
  /// Asked at every evaluation beside the validation loss. Collective; may be empty.
  std::function<Scores(Communicator&, const Context&, const Transformer&)> score;
  /// Called on rank 0 once it is known from which step the run goes on.
  std::function<std::vector<std::unique_ptr<MetricsSink>>(int64_t start_step)> make_sinks;
};

/// How it went. Equal on all ranks, but for the speed.
struct TrainerResult {
  int64_t start_step = 0;
  int64_t step = 0;
  double loss = 0.0;                 ///< of the last step
  EvaluationReport evaluation;       ///< of the last evaluation
  Scores scores;                     ///< of the last evaluation
  std::optional<double> first_loss;  ///< of the evaluation before the first step, whichever attempt made it
  bool evaluated = false;
  bool interrupted = false;        ///< asked to stop; a checkpoint was written
  std::string checkpoint;          ///< the last one written or resumed from
  double tokens_per_second = 0.0;  ///< of the steps alone, median
  double mfu = 0.0;                ///< PaLM convention, against the measured matrix-product rate
};

/// Trains `objective` to config.steps. Collective. Throws Error(kDiverged) when loss or gradients are not finite:
/// the earlier checkpoints stay.
TrainerResult train(Communicator& communicator, ThreadPool& pool, Objective& objective, const TrainerOptions& options);

}  // namespace tsugi
