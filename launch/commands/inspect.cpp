#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/checkpoint/checkpoint.h"
#include "core/config/config.h"
#include "core/data/mixture.h"
#include "core/data/token_file.h"
#include "core/data/token_shards.h"
#include "core/model/huggingface.h"
#include "core/model/transformer.h"
#include "launch/commands/commands.h"
#include "launch/model_folder.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct InspectOptions {
  std::string path;
  bool json = false;
};

/// The proportions of a mixture, and the samples that were taken so far.
void describe_mixture(const RunState& state, nlohmann::ordered_json& json) {
  RunConfig config;
  parse_config(state.config_text, "run.json", {}, config);
  if (config.data().mixture_size() == 0) return;
  std::vector<double> weights;
  for (const MixtureSource& source : config.data().mixture()) weights.push_back(source.weight());
  const Mixture mixture(weights, config.seed());
  for (int i = 0; i < config.data().mixture_size(); ++i) {
    const auto part = static_cast<double>(mixture.parts()[static_cast<size_t>(i)]);
    json["mixture"].push_back({{"path", config.data().mixture(i).path()},
                               {"part", part / static_cast<double>(mixture.period())},
                               {"samples", mixture.taken(i, state.next_sample)}});
  }
}

nlohmann::ordered_json describe_checkpoint(const std::string& given) {
  const std::string path = resolve_checkpoint(given);
  const HuggingfaceModel description = describe_folder(path);
  ParameterStore store;
  const Transformer model(description.model, store, description.labels.empty(), description.adapter);
  WeightFolder weights(path);
  check_folder(weights, description);
  nlohmann::ordered_json json;
  json["kind"] = "checkpoint";
  json["path"] = path;
  json["family"] = ModelConfig::Family_Name(description.model.family());
  json["layers"] = description.model.layers();
  json["heads"] = description.model.heads();
  json["key_heads"] = description.model.key_heads();
  json["width"] = description.model.width();
  json["context"] = description.model.context();
  json["vocabulary"] = description.model.vocabulary();
  json["dtype"] = description.dtype;
  json["parameters"] = store.parameters();
  if (!description.labels.empty()) json["labels"] = description.labels;
  const bool ours = std::filesystem::exists(path + "/manifest.json");
  if (ours) {
    verify_checkpoint(path);
    const RunState state = load_run_state(path);
    json["step"] = state.step;
    json["next_sample"] = state.next_sample;
    json["facts"] = state.facts;
    describe_mixture(state, json);
  }
  json["verified"] = ours;
  return json;
}

nlohmann::ordered_json describe_tokens(const std::string& path) {
  const TokenFile file = TokenFile::open(path);
  nlohmann::ordered_json json;
  json["kind"] = "token file";
  json["path"] = path;
  json["tokens"] = file.tokens();
  json["vocabulary"] = file.vocabulary();
  json["documents"] = file.documents().size();
  std::vector<int32_t> first(static_cast<size_t>(std::min<int64_t>(file.tokens(), 16)));
  file.read(0, file.vocabulary() > 0 ? file.vocabulary() : int64_t{1} << 31, first);
  json["first_tokens"] = first;
  if (path.ends_with(".json")) {
    verify_shards(read_shard_index(path));
    json["verified"] = true;
  }
  return json;
}

int inspect(const InspectOptions& options) {
  if (!std::filesystem::exists(options.path)) {
    throw Error(ExitCode::kData, options.path + ": there is no such file or folder");
  }
  const nlohmann::ordered_json json =
      std::filesystem::is_directory(options.path) ? describe_checkpoint(options.path) : describe_tokens(options.path);
  if (options.json) {
    std::cout << json.dump() << std::endl;
    return 0;
  }
  for (const auto& [key, value] : json.items()) std::cout << key << ": " << value.dump() << "\n";
  return 0;
}

}  // namespace

void add_inspect(Command app) {
  auto options = std::make_shared<InspectOptions>();
  Command command = app.subcommand(
      "inspect", "What a checkpoint, run directory, token file or index of shards holds, and whether it is intact");
  command.option("path", options->path, "folder or token file").required();
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([options] { return inspect(*options); });
}

}  // namespace tsugi
