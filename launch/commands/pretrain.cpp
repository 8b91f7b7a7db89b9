#include <glog/logging.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/config/config.h"
#include "core/config/families.h"
#include "core/data/file.h"
#include "core/data/folders.h"
#include "core/downstream/multiple_choice.h"
#include "core/model/huggingface.h"
#include "core/nn/adapter.h"
#include "core/scaling/flops.h"
#include "core/train/logging.h"
#include "core/train/stop_signal.h"
#include "core/train/trainer.h"
#include "launch/commands/commands.h"
#include "launch/device.h"
#include "launch/image_data.h"
#include "launch/machine.h"
#include "launch/mask_token.h"
#include "launch/model_folder.h"
#include "launch/pair_data.h"
#include "launch/run_sinks.h"
#include "launch/run_world.h"
#include "launch/training_data.h"

namespace tsugi {
namespace {

struct PretrainOptions {
  std::string config;
  std::vector<std::string> overrides;
  std::string out;
  std::string resume = "auto";
  std::string start_from;
  std::string initial_weights;
  bool graphs = false;
  bool json = false;
};

nlohmann::ordered_json summary(const TrainerResult& result, const World& world, const Objective& objective,
                               const RunConfig& config) {
  nlohmann::ordered_json json;
  json["step"] = result.step;
  json["start_step"] = result.start_step;
  json["loss"] = result.loss;
  json["validation_loss"] =
      result.evaluated ? nlohmann::ordered_json(result.evaluation.loss) : nlohmann::ordered_json();
  if (objective.has_accuracy() && result.evaluated) {
    json["validation_accuracy"] = static_cast<double>(result.evaluation.correct) /
                                  static_cast<double>(std::max<int64_t>(result.evaluation.targets, 1));
  }
  for (const auto& [name, score] : result.scores) json[name] = score;
  json["interrupted"] = result.interrupted;
  json["checkpoint"] = result.checkpoint;
  json["tokens_per_second"] = result.tokens_per_second;
  json["mfu"] = result.mfu;
  const FlopsPerToken flops = flops_per_token(config.model(), objective.sequence());
  json["mfu_causal"] = result.mfu * flops.causal / flops.palm;
  json["ranks"] = world.size();
  json["threads"] = world.threads();
  const Machine machine = this_machine();
  json["program"] = machine.program;
  json["host"] = machine.host;
  json["processor"] = machine.processor;
  json["objective"] = objective.name();
  return json;
}

int pretrain(World& world, const PretrainOptions& options) {
  Communicator& communicator = world.communicator();
  RunConfig config;
  DataFiles files;
  std::unique_ptr<Objective> objective;
  ImageObjective images;
  std::string data_description;  // of what is no token file
  std::vector<MultipleChoiceQuestion> questions;
  std::unique_ptr<Tokenizer> tokenizer;
  std::string initial;  // the folder of --init-from
  HuggingfaceModel description;
  on_all_ranks(communicator, [&] {
    load_config(options.config, options.overrides, config);
    if (!options.initial_weights.empty()) {
      initial = resolve_checkpoint(options.initial_weights);
      description = describe_folder(initial);
      refuse_bottlenecks(description, initial, "training that begins there");
      take_architecture(description.model, initial, *config.mutable_model());
    }
    validate_run_of(options.config, config);
    if (has_adapter(config.adapter()) && initial.empty()) {
      throw Error(ExitCode::kUsage, "the configuration has an adapter, but there are no weights to adapt",
                  "name them with --init-from");
    }
    if (options.graphs && config.objective().masked_lm().next_sentence()) {
      throw Error(ExitCode::kUsage, "CUDA graphs are built for one loss, and objective.masked_lm.next_sentence has two",
                  "leave out --graphs");
    }
  });
  ChosenDevice chosen = choose_device(config.compute(), world);
  std::unique_ptr<WorkRecorder> recorder;
  on_all_ranks(communicator, [&] {
    if (options.graphs) recorder = make_recorder(chosen);
    if (learns_from_images(config.objective())) {
      images = make_image_objective(config);
      objective = std::move(images.objective);
      data_description = images.description;
    } else if (config.objective().has_sequence_to_sequence()) {
      files = find_data(config.data());
      if (!initial.empty()) require_tokenizer_of(initial, files.train, 0);
      objective =
          make_pairs_objective(files.train, config.data().validation(), files.tokenizer, config, data_description);
    } else {
      files = find_data(config.data());
      objective = make_language_objective(files, config, initial);
      data_description = objective->describe_data();
    }
    if (!config.evaluation().multiple_choice().empty()) {
      questions = read_multiple_choice_jsonl(config.evaluation().multiple_choice());
      if (files.tokenizer.empty()) {
        throw Error(
            ExitCode::kUsage,
            "evaluation.multiple_choice needs a tokenizer, but there is no tokenizer.json beside " + files.train);
      }
      tokenizer = load_tokenizer(files.tokenizer);
    }
    if (world.rank() == 0) make_folders(options.out);
  });
  install_stop_signals();
  communicator.barrier();
  connect_devices(chosen, config.compute(), world, config.dist().timeout_seconds());
  const RunLog log(options.out, world.rank());
  LOG(INFO) << "computes on " << chosen.description;
  LOG(INFO) << world.describe();
  LOG(INFO) << "training data:\n"
            << (objective->training_data() == nullptr ? data_description
                                                      : describe_data(*objective->training_data(), config));

  TrainerOptions trainer;
  trainer.config = config;
  trainer.device = chosen.device();
  trainer.recorder = recorder.get();
  trainer.device_communicator = chosen.communicator.get();
  trainer.run_directory = options.out;
  trainer.resume = options.resume;
  if (!questions.empty()) {
    trainer.score = [&](Communicator& all, const Context& context, const Transformer& model) {
      const MultipleChoiceScore score =
          ask_questions(all, context, model, *tokenizer, questions, config.batch().micro_batch());
      return Scores{{"choice_accuracy", score.accuracy}, {"choice_accuracy_per_token", score.accuracy_per_token}};
    };
  }
  if (!options.start_from.empty()) {
    on_all_ranks(communicator, [&] { trainer.start_from = resolve_checkpoint(options.start_from); });
  }
  trainer.initial_weights = initial;
  description.model = config.model();
  description.labels = images.labels;
  description.dtype = "float32";
  if (const auto hiding = hiding_of(config.objective())) {
    description.token_ids["mask_token_id"] = std::to_string(hiding->mask_token());
    if (config.objective().masked_lm().next_sentence()) {
      description.token_ids["cls_token_id"] = std::to_string(hiding->cls_token());
      description.token_ids["sep_token_id"] = std::to_string(hiding->sep_token());
    }
  }
  add_pair_tokens(config.objective(), description);
  on_all_ranks(communicator, [&] {
    const std::string text = initial.empty() ? files.tokenizer : larger_tokenizer(initial, files.tokenizer);
    trainer.texts = checkpoint_texts(description, text, initial, config.adapter());
    if (learns_from_images(config.objective())) {
      trainer.texts["preprocessor_config.json"] = image_processor_text(config.model());
    }
  });
  trainer.make_sinks = [&](int64_t start_step) {
    write_file_durably(options.out + "/config.textproto", to_text(config));
    return make_run_sinks(options.out, start_step, config, options.json);
  };
  ThreadPool pool(world.threads(), world.cpus());
  const TrainerResult result = train(communicator, pool, *objective, trainer);
  if (world.rank() == 0) {
    if (options.json) {
      std::cout << summary(result, world, *objective, config).dump() << std::endl;
    } else if (result.interrupted) {
      std::cout << "stopped at step " << result.step << " as asked; run the same command again to go on\n";
    } else {
      std::cout << "done: " << result.checkpoint << std::endl;
    }
  }
  return static_cast<int>(result.interrupted ? ExitCode::kInterrupted : ExitCode::kDone);
}

}  // namespace

void add_pretrain(Command app) {
  auto options = std::make_shared<PretrainOptions>();
  Command command =
      app.subcommand("pretrain", "Train a model from a configuration; start it with mpirun or srun for many ranks");
  command.option("--config", options->config, "run configuration (launch/recipes/*.textproto)").required();
  command.option("--set", options->overrides, "change a field: optimizer.learning_rate=3e-4").take_all();
  command.option("--out", options->out, "run directory").required();
  command
      .option("--resume", options->resume,
              "auto: from the newest intact checkpoint in --out, if any; never; or a checkpoint folder")
      .show_default();
  const Option start = command.option(
      "--start-from", options->start_from,
      "when --out has no checkpoint: go on from this one of another run (or its newest), weights, moments, step and "
      "data; with another length or schedule that run branches off");
  command
      .option("--init-from", options->initial_weights,
              "continued pretraining: begin with the weights of this checkpoint, run directory or Hugging Face folder")
      .excludes(start);
  command.flag("--graphs", options->graphs,
               "on a device, record a micro-batch as CUDA graphs and launch it as a whole: for models so small that "
               "launches take longer than kernels");
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([options] {
    return run_in_world(world_options(options->config, options->overrides),
                        [&](World& joined) { return pretrain(joined, *options); });
  });
}

}  // namespace tsugi
