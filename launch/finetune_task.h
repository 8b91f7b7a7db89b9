// What `tsugi finetune` trains: a task made from its options and a checkpoint.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/objective/objective.h"
#include "launch/device_options.h"
#include "launch/instruction_data.h"
#include "launch/model_folder.h"

namespace tsugi {

/// As on the command line.
struct FinetuneOptions {
  std::string checkpoint;
  std::string task = "classification";
  std::string train;
  std::string validation;
  std::string out;
  std::string resume = "auto";
  bool from_scratch = false;
  bool linear_probe = false;
  bool baselines = false;
  InstructionArguments instructions;
  double validation_fraction = 0.0;
  int64_t sequence = 0;
  int64_t per_class = 0;
  bool packed = false;
  int freeze_layers = 0;
  int lora_rank = 0;
  double lora_alpha = 0.0;
  std::string lora_targets;
  int bottleneck = 0;
  std::string bottleneck_placement = "feed-forward";
  double epochs = 10.0;
  int64_t batch = 16;
  int micro_batches = 4;
  int64_t checkpoint_every = 0;
  int64_t evaluate_every = 0;
  double learning_rate = 5e-4;
  double dropout = 0.0;
  double weight_decay = 0.1;
  uint64_t seed = 1337;
  int threads = 0;
  DeviceArguments computing;  ///< `compute` is empty until the device is known
  bool json = false;
};

/// What fine-tuning a checkpoint on a task needs.
struct FinetuneTask {
  RunConfig config;
  std::unique_ptr<Objective> objective;
  std::vector<std::string> labels;
  std::string tokenizer;  ///< file; may be empty
  int64_t train_examples = 0;
  std::optional<InstructionTask> instructions;
  double majority = 0.0;
  double ngrams = 0.0;
};

/// Where it computes.

/// Reads the data. Throws Error(kUsage) for a task that the model is not for, Error(kData) for data that is wrong.
FinetuneTask make_finetune_task(const FinetuneOptions& options, const ModelFolder& opened);

}  // namespace tsugi
