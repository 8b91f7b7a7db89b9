#include <glog/logging.h>

#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/config/config.h"
#include "core/data/file.h"
#include "core/data/folders.h"
#include "core/model/names.h"
#include "core/train/logging.h"
#include "core/train/stop_signal.h"
#include "core/train/trainer.h"
#include "launch/commands/commands.h"
#include "launch/device.h"
#include "launch/finetune_task.h"
#include "launch/image_data.h"
#include "launch/pair_data.h"
#include "launch/run_sinks.h"
#include "launch/run_world.h"
#include "launch/training_data.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

void add_counts(const InstructionCounts& counts, const std::string& name, nlohmann::ordered_json& json) {
  json[name] = {{"examples", counts.examples},
                {"scored_tokens", counts.scored},
                {"cut", counts.cut},
                {"too_long", counts.too_long},
                {"without_response", counts.empty}};
}

/// Which tensors stay as they are: all but the head, or embeddings and the blocks below `layers`.
std::function<bool(const ParameterInfo&)> frozen_tensors(const FinetuneOptions& options, const ModelConfig& model) {
  const TensorNames names = tensor_names(model);
  if (options.linear_probe) {
    return [names](const ParameterInfo& info) {
      const bool pooler = !names.pooler.empty() && info.name.starts_with(names.pooler);  // belongs to the head
      return info.name.starts_with(names.body) && !pooler;
    };
  }
  if (options.freeze_layers == 0) return {};
  return [names, layers = options.freeze_layers](const ParameterInfo& info) {
    if (info.name.starts_with(names.blocks)) return std::stoi(info.name.substr(names.blocks.size())) < layers;
    return info.name == names.token_table + ".weight" || info.name == names.position_table + ".weight" ||
           info.name == names.segment_table + ".weight" || info.name == names.embedding_norm + ".weight" ||
           info.name == names.embedding_norm + ".bias" || info.name == names.position_table ||
           info.name == names.class_token || info.name == names.patches + ".weight" ||
           info.name == names.patches + ".bias";
  };
}

void print_result(const FinetuneOptions& options, const FinetuneTask& task, const TrainerResult& result) {
  nlohmann::ordered_json json;
  json["task"] = options.task;
  json["steps"] = result.step;
  if (result.first_loss) json["first_validation_loss"] = *result.first_loss;
  json["validation_loss"] =
      result.evaluated ? nlohmann::ordered_json(result.evaluation.loss) : nlohmann::ordered_json();
  const bool accuracy = task.objective->has_accuracy();
  const double share = static_cast<double>(result.evaluation.correct) /
                       static_cast<double>(std::max<int64_t>(result.evaluation.targets, 1));
  if (accuracy) {
    json["accuracy"] = share;
    json["labels"] = task.labels.size();
    json["train_examples"] = task.train_examples;
    json["validation_examples"] = result.evaluation.targets;
  }
  if (options.baselines && accuracy) {
    json["majority_accuracy"] = task.majority;
    json["ngram_accuracy"] = task.ngrams;
  }
  if (task.instructions) {
    add_counts(task.instructions->train, "train", json);
    add_counts(task.instructions->validation, "validation", json);
  }
  json["interrupted"] = result.interrupted;
  json["checkpoint"] = result.checkpoint;
  if (options.json) {
    std::cout << json.dump() << std::endl;
    return;
  }
  if (!result.evaluated) {
    std::cout << "done; there was nothing to validate on" << std::endl;
    return;
  }
  std::cout << "validation loss " << result.evaluation.loss;
  if (result.first_loss) std::cout << ", before training " << *result.first_loss;
  if (task.instructions) std::cout << ", of " << result.evaluation.targets << " tokens of responses";
  if (accuracy) std::cout << ", accuracy " << share << " on " << result.evaluation.targets << " examples";
  if (options.baselines && accuracy) std::cout << " (majority " << task.majority << ", n-grams " << task.ngrams << ")";
  std::cout << std::endl;
}

int finetune(World& world, FinetuneOptions options) {
  Communicator& communicator = world.communicator();
  FinetuneTask task;
  ModelFolder opened;
  on_all_ranks(communicator, [&] {
    if (world.size() > options.micro_batches) {
      throw Error(ExitCode::kUsage,
                  "--micro-batches is " + std::to_string(options.micro_batches) + ", but there are " +
                      std::to_string(world.size()) + " ranks: every rank needs at least one",
                  "set --micro-batches to a multiple of the ranks, and --batch to a multiple of that");
    }
  });
  ChosenDevice chosen = choose_device(options.computing.config(), world);
  on_all_ranks(communicator, [&] {
    options.computing.compute = options.computing.compute_on(chosen);
    opened = open_model(options.checkpoint, 1);
    refuse_bottlenecks(opened.description, opened.path, "fine-tuning");
    if (options.freeze_layers > opened.description.model.layers()) {
      throw Error(ExitCode::kUsage, "--freeze-layers " + std::to_string(options.freeze_layers) + " but " + opened.path +
                                        " has " + std::to_string(opened.description.model.layers()) + " layers");
    }
    task = make_finetune_task(options, opened);
    const std::string tokenizer = opened.path + "/tokenizer.json";
    if (std::filesystem::exists(tokenizer)) task.tokenizer = tokenizer;
    if (!options.out.empty() && world.rank() == 0) make_folders(options.out);
  });
  install_stop_signals();
  communicator.barrier();
  connect_devices(chosen, options.computing.config(), world, task.config.dist().timeout_seconds());
  const RunLog log(options.out, world.rank());
  LOG(INFO) << "computes on " << chosen.description;
  if (task.instructions) {
    LOG(INFO) << "training: " << describe(task.instructions->train);
    LOG(INFO) << "validation: " << describe(task.instructions->validation);
    if (world.rank() == 0 && !options.json) std::cout << "training on " << describe(task.instructions->train) << "\n";
  }

  TrainerOptions trainer;
  trainer.config = task.config;
  trainer.device = chosen.device();
  trainer.device_communicator = chosen.communicator.get();
  trainer.run_directory = options.out;
  trainer.resume = options.out.empty() ? "never" : options.resume;
  if (!options.from_scratch) trainer.initial_weights = opened.path;
  trainer.frozen = frozen_tensors(options, task.config.model());
  trainer.evaluate_first = options.task != "classification";
  HuggingfaceModel description = opened.description;
  description.model = task.config.model();
  description.labels = task.labels;
  description.dtype = "float32";
  add_pair_tokens(task.config.objective(), description);
  on_all_ranks(communicator, [&] {
    trainer.texts = checkpoint_texts(description, task.tokenizer, opened.path, task.config.adapter());
    if (description.model.family() == ModelConfig::VIT) {
      trainer.texts["preprocessor_config.json"] = image_processor_text(description.model);
    }
  });
  trainer.make_sinks = [&](int64_t start_step) {
    if (options.out.empty()) return std::vector<std::unique_ptr<MetricsSink>>();
    write_file_durably(options.out + "/config.textproto", to_text(task.config));
    return make_run_sinks(options.out, start_step, task.config, options.json);
  };
  opened.store.reset();  // the weights are read again, shard by shard
  ThreadPool pool(world.threads(), world.cpus());
  const TrainerResult result = train(communicator, pool, *task.objective, trainer);
  if (world.rank() == 0) print_result(options, task, result);
  return static_cast<int>(result.interrupted ? ExitCode::kInterrupted : ExitCode::kDone);
}

}  // namespace

void add_finetune(Command app) {
  auto options = std::make_shared<FinetuneOptions>();
  Command command = app.subcommand("finetune", "Adapt a checkpoint to a task, alone or on many ranks");
  command.option("--checkpoint", options->checkpoint, "checkpoint folder, or run directory (newest)").required();
  command.option("--task", options->task, "what to learn")
      .show_default()
      .one_of({"classification", "instructions", "language-modelling"});
  command
      .option(
          "--train", options->train,
          "classification: JSONL with \"text\" and \"label\", or of a model of images a folder of prepare-images, of "
          "classes, or an IDX file; instructions: JSONL with \"prompt\" and "
          "\"response\", or \"messages\"; language-modelling: token file or folder")
      .required();
  const Option validation = command.option("--validation", options->validation, "the same form, to validate on");
  const Option per_class =
      command
          .option("--per-class", options->per_class, "classification: the first examples of each class alone; 0: all")
          .show_default()
          .non_negative();
  std::vector<Option> of_instructions = add_instruction_options(command, options->instructions);
  of_instructions.push_back(command.option("--validation-fraction", options->validation_fraction,
                                           "instructions, without --validation: this part of --train is held out"));
  of_instructions.back().show_default().range(0.0, 0.9).excludes(validation);
  of_instructions.push_back(
      command.option("--sequence", options->sequence,
                     "instructions: tokens in a row; 0: as the longest example needs, packed the model's context"));
  of_instructions.back().show_default().non_negative();
  of_instructions.push_back(
      command.flag("--packed", options->packed, "instructions: several examples in a row, none of which sees another"));
  const Option out = command.option("--out", options->out, "run directory; without it only the result is printed");
  command.option("--resume", options->resume, "auto, never, or a checkpoint folder").show_default().needs(out);
  Option freeze =
      command.option("--freeze-layers", options->freeze_layers, "keep the embeddings and this many lower blocks")
          .show_default()
          .range(0, 1024);
  Option probe = command.flag("--linear-probe", options->linear_probe, "train the head alone").excludes(freeze);
  Option scratch = command.flag("--from-scratch", options->from_scratch, "the checkpoint's shape with random weights");
  Option rank = command.option("--lora-rank", options->lora_rank,
                               "train low-rank adapters of this rank (and the head) and keep them apart, "
                               "in a folder that PEFT reads; 0: none");
  rank.show_default().range(0, 4096).excludes(freeze).excludes(probe).excludes(scratch);
  command.option("--lora-alpha", options->lora_alpha, "the update's scale times the rank; 0: twice the rank")
      .show_default()
      .range(0.0, 1e6)
      .needs(rank);
  command
      .option("--lora-targets", options->lora_targets,
              "projections to adapt, separated by commas (q_proj,v_proj or c_attn); default: all")
      .needs(rank);
  Option bottleneck = command.option("--bottleneck", options->bottleneck,
                                     "train bottleneck adapters with so many hidden units (and the head) and keep them "
                                     "apart; 0: none");
  bottleneck.show_default().range(0, 65536).excludes(freeze).excludes(probe).excludes(scratch).excludes(rank);
  command
      .option("--bottleneck-placement", options->bottleneck_placement,
              "after the feed-forward layer of each block, or both there and after attention")
      .show_default()
      .one_of({"feed-forward", "both"})
      .needs(bottleneck);
  const Option baselines =
      command.flag("--baselines", options->baselines, "also score majority and bag-of-n-grams classifiers");
  command.option("--epochs", options->epochs, "passes over the training examples").show_default().range(1e-3, 1e6);
  command.option("--batch", options->batch, "examples per step").show_default().range(int64_t{1}, int64_t{1} << 20);
  command.option("--micro-batches", options->micro_batches, "parts of a step, dealt out to the ranks")
      .show_default()
      .range(1, 65536);
  command.option("--checkpoint-every", options->checkpoint_every, "steps; 0: at the end and when asked to stop")
      .needs(out)
      .show_default()
      .non_negative();
  command.option("--evaluate-every", options->evaluate_every, "steps; 0: before and after")
      .show_default()
      .non_negative();
  command.option("--learning-rate", options->learning_rate, "peak; linear warm-up over a tenth, then cosine to 0")
      .show_default()
      .range(0.0, 10.0);
  command.option("--dropout", options->dropout, "probability").show_default().range(0.0, 0.95);
  command.option("--weight-decay", options->weight_decay, "of matrices").show_default().range(0.0, 10.0);
  command.option("--seed", options->seed, "of head, order and dropout").show_default();
  command.option("--threads", options->threads, "per rank; 0: the rank's share").show_default().range(0, 4096);
  add_device_options(command, options->computing);
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([options, of_instructions, baselines, per_class] {
    if (options->task == "classification" && options->validation.empty()) {
      throw Error(ExitCode::kUsage, "--task classification needs --validation");
    }
    const auto only_for = [&](const char* task, const Option& option) {
      if (!option.given() || options->task == task) return;
      throw Error(ExitCode::kUsage, option.name() + " is for --task " + task + ", not " + options->task);
    };
    for (const Option& option : of_instructions) only_for("instructions", option);
    only_for("classification", baselines);
    only_for("classification", per_class);
    if (options->batch % options->micro_batches != 0) {
      throw Error(ExitCode::kUsage,
                  "--batch " + std::to_string(options->batch) + " is no multiple of --micro-batches " +
                      std::to_string(options->micro_batches),
                  "a step is so many equal parts, whatever the number of ranks");
    }
    WorldOptions world;
    world.threads = options->threads;
    return run_in_world(world, [&](World& joined) { return finetune(joined, *options); });
  });
}

}  // namespace tsugi
