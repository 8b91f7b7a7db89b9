#include <algorithm>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/config/config.h"
#include "core/nn/adapter.h"
#include "core/scaling/flops.h"
#include "core/train/engine.h"
#include "core/train/memory_plan.h"
#include "launch/commands/commands.h"
#include "launch/device.h"
#include "launch/image_data.h"
#include "launch/pair_data.h"
#include "launch/planned_lm.h"
#include "launch/program_memory.h"
#include "launch/run_world.h"
#include "launch/training_data.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct PlanOptions {
  std::string config;
  std::vector<std::string> overrides;
  int ranks = 1;
  bool json = false;
};

std::string bytes_text(int64_t bytes) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(1) << static_cast<double>(bytes) / (1 << 20) << " MiB";
  return text.str();
}

/// World sizes up to micro_batches for which every rank has the same number of micro-batches.
std::vector<int> even_world_sizes(int micro_batches) {
  std::vector<int> sizes;
  for (int ranks = 1; ranks <= micro_batches; ++ranks) {
    if (micro_batches % ranks == 0) sizes.push_back(ranks);
  }
  return sizes;
}

int plan(const PlanOptions& options) {
  RunConfig config;
  load_config(options.config, options.overrides, config);
  validate_run_of(options.config, config);
  const ChosenDevice chosen = device_to_plan(config.compute());
  ThreadPool pool(1);
  // Of a host whose work is done by a device nothing is known here.
  const int64_t program = chosen.operators == nullptr ? measure_program_bytes(pool, config) : 0;
  std::vector<TrainingData::Share> shares;
  std::string data;
  // The vocabulary may be that of the data; proportions and packing need to know it.
  ImageObjective images;
  if (learns_from_images(config.objective())) {  // how many classes there are is in the data
    images = make_image_objective(config);
    data = images.description + "\n";
  } else if (config.objective().has_sequence_to_sequence()) {
    if (config.model().vocabulary() == 0) {
      const DataFiles files = find_data(config.data());
      make_pairs_objective(files.train, config.data().validation(), files.tokenizer, config, data);
      data += "\n";
    }
  } else if (config.model().vocabulary() == 0 || config.data().mixture_size() > 0 ||
             config.data().packing() != DataConfig::CONTINUOUS) {
    const auto language = make_language_objective(find_data(config.data()), config);
    if (const TrainingData* const known = language->training_data(); known != nullptr) {
      shares = known->shares(samples_of_run(config));
      data = describe_data(*known, config);
    } else {
      data = language->describe_data() + "\n";
    }
  }
  if (options.ranks > config.batch().micro_batches()) {
    throw Error(ExitCode::kUsage, "--ranks " + std::to_string(options.ranks) + " is more than batch.micro_batches, " +
                                      std::to_string(config.batch().micro_batches()));
  }
  std::unique_ptr<Objective> chosen_objective = std::move(images.objective);
  if (chosen_objective == nullptr) chosen_objective = std::make_unique<PlannedLm>(config);
  Objective& objective = *chosen_objective;
  Device meta = chosen.device();
  meta.meta = true;
  PlanningMemory memory;
  ParameterStore store;
  objective.declare_heads(store, config.model());
  const int first_body_unit = store.tensors().empty() ? 0 : 1;
  const Transformer model(config.model(), store, objective.uses_output_head(), config.adapter());
  if (has_adapter(config.adapter())) freeze_all_but_adapters(store, first_body_unit);
  store.allocate(Context(meta, pool, memory), compute_type(config));
  objective.take_memory(Context(meta, pool, memory), store);
  // The first rank has the largest shards, the last one the most micro-batches: take the larger need.
  MemoryPlan bytes;
  for (const int rank : {0, options.ranks - 1}) {
    const MemoryPlan one = plan_memory(meta, store, model, objective, config, options.ranks, rank);
    if (one.total() > bytes.total()) bytes = one;
  }
  const ParameterCount parameters = count_parameters(config.model());
  const FlopsPerToken flops = flops_per_token(config.model(), objective.sequence(), objective.scored_share());
  const int64_t tokens_per_step = objective.rows_per_sample() * objective.sequence() * config.batch().micro_batch() *
                                  config.batch().micro_batches();
  const double tokens = static_cast<double>(tokens_per_step) * static_cast<double>(config.steps());

  nlohmann::ordered_json json;
  json["parameters"] = store.parameters();
  json["trainable_parameters"] = store.trainable_parameters();
  json["parameters_in_products"] = parameters.in_products;
  json["tokens_per_step"] = tokens_per_step;
  json["tokens"] = tokens;
  json["flops_per_token"] = {{"palm", flops.palm}, {"causal", flops.causal}};
  json["flops"] = {{"palm", flops.palm * tokens}, {"causal", flops.causal * tokens}};
  json["ranks"] = options.ranks;
  json["device"] = chosen.description;
  json["bytes_per_rank"] = {{"parameters", bytes.parameters},
                            {"optimizer", bytes.optimizer},
                            {"gradients", bytes.gradients},
                            {"training_arena", bytes.training_arena},
                            {"evaluation_arena", bytes.evaluation_arena},
                            {"feature_arena", bytes.feature_arena},
                            {"arenas", bytes.arenas()},
                            {"checkpoint_copy", bytes.checkpoint_copy},
                            {"comparison", bytes.comparison},
                            {"objective_state", bytes.objective_state},
                            {"total", bytes.total()}};
  if (chosen.operators != nullptr) {  // the copy is in pinned memory of the host
    json["bytes_per_rank"]["on_device"] = bytes.on_device();
    json["bytes_per_rank"]["on_host"] = bytes.checkpoint_copy;
  }
  if (program > 0) json["program_bytes"] = program;
  // An adapter's checkpoints hold the adapter alone.
  const int64_t checkpoint = store.trainable_parameters() * 4 * 3;
  json["checkpoint_bytes"] = checkpoint;
  for (const TrainingData::Share& share : shares) {
    json["data"].push_back({{"path", share.path},
                            {"tokens", share.tokens},
                            {"part", share.part},
                            {"samples", share.taken},
                            {"epoch_samples", share.epoch_samples},
                            {"fullness", share.fullness}});
  }
  json["ranks_with_equal_work"] = even_world_sizes(config.batch().micro_batches());
  if (options.json) {
    std::cout << json.dump() << std::endl;
    return 0;
  }
  const std::string process = program == 0 ? ""
                                           : "process           " + bytes_text(bytes.total() + program) + ": " +
                                                 bytes_text(program) + " of it the program itself, measured here\n";
  const std::string needed = chosen.operators == nullptr ? bytes_text(bytes.total())
                                                         : bytes_text(bytes.on_device()) + " of the device, " +
                                                               bytes_text(bytes.checkpoint_copy) + " of its host";
  std::cout << "device            " << chosen.description << "\n"
            << data << "parameters        " << store.parameters() << " (" << parameters.in_products
            << " in matrix products)\n"
            << "trained           " << store.trainable_parameters() << "\n"
            << "tokens            " << tokens << " in " << config.steps() << " steps of " << tokens_per_step << "\n"
            << "FLOPs             " << flops.palm * tokens << " (PaLM), " << flops.causal * tokens << " (causal)\n"
            << "memory per rank   " << needed << " with " << options.ranks << " ranks\n"
            << "  parameters      " << bytes_text(bytes.parameters) << "\n"
            << "  optimizer       " << bytes_text(bytes.optimizer) << "\n"
            << "  gradients       " << bytes_text(bytes.gradients) << "\n"
            << "  arena           " << bytes_text(bytes.arenas()) << ": " << bytes_text(bytes.training_arena)
            << " for a step, and in the same place " << bytes_text(bytes.evaluation_arena) << " for validation\n"
            << "  comparison      " << bytes_text(bytes.comparison) << "\n"
            << "  objective       " << bytes_text(bytes.objective_state) << "\n"
            << "  checkpoint copy " << bytes_text(bytes.checkpoint_copy) << "\n"
            << process << "checkpoint        " << bytes_text(checkpoint) << "\n"
            << "The bits are the same for every number of ranks up to " << config.batch().micro_batches()
            << "; equal work for";
  for (const int ranks : even_world_sizes(config.batch().micro_batches())) std::cout << " " << ranks;
  std::cout << " ranks." << std::endl;
  return 0;
}

}  // namespace

void add_plan(Command app) {
  auto options = std::make_shared<PlanOptions>();
  Command command = app.subcommand("plan", "Memory and FLOPs of a run, before anything is allocated");
  command.option("--config", options->config, "run configuration").required();
  command.option("--set", options->overrides, "change a field: model.layers=24").take_all();
  command.option("--ranks", options->ranks, "number of ranks").show_default().range(1, 1 << 20);
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([options] { return plan(*options); });
}

}  // namespace tsugi
