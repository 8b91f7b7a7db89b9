#include "launch/training_data.h"

#include <filesystem>
#include <set>
#include <string_view>
#include <vector>

#include "core/checkpoint/adapter_folder.h"
#include "core/checkpoint/manifest.h"
#include "core/data/file.h"
#include "core/data/tokenizer/tokenizer.h"
#include "core/model/folder_texts.h"
#include "core/model/transformer.h"
#include "core/nn/adapter.h"
#include "core/objective/causal_lm.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr int64_t kMaxTokenizerBytes = int64_t{1} << 30;

std::string if_exists(const std::filesystem::path& path) {
  return std::filesystem::exists(path) ? path.string() : std::string();
}

/// The last parts of the names of what `adapter` adapts. Throws Error(kUsage) for a target that the model lacks.
std::vector<std::string> adapted_projections(const ModelConfig& model, const AdapterConfig& adapter) {
  ParameterStore store;
  const Transformer declared(model, store, true, adapter);
  std::set<std::string> adapted;
  for (const ParameterInfo& info : store.tensors()) {
    if (!info.name.ends_with(kAdapterDown)) continue;
    const std::string projection = info.name.substr(0, info.name.size() - std::string_view(kAdapterDown).size());
    adapted.insert(projection.substr(projection.rfind('.') + 1));
  }
  for (const std::string& target : adapter_targets(adapter)) {
    if (adapted.contains(target)) continue;
    AdapterConfig all = adapter;
    all.clear_targets();
    std::string known;
    for (const std::string& one : adapted_projections(model, all)) known += (known.empty() ? "" : ", ") + one;
    throw Error(ExitCode::kUsage, "adapter.targets: the model has no projection \"" + target + "\"", "it has " + known);
  }
  return {adapted.begin(), adapted.end()};
}

}  // namespace

DataFiles find_data(const DataConfig& config) {
  namespace fs = std::filesystem;
  DataFiles files;
  const fs::path given = config.train();
  files.train = fs::is_directory(given) ? (given / "train.bin").string() : given.string();
  if (!fs::exists(files.train)) {
    throw Error(ExitCode::kData, files.train + ": there is no such file (data.train)",
                "`tsugi prepare --text DIR --out " + given.string() + "` makes it from text");
  }
  const fs::path folder = fs::path(files.train).parent_path();
  files.validation = config.validation().empty() ? if_exists(folder / "validation.bin") : config.validation();
  if (files.validation == files.train) files.validation.clear();
  files.tokenizer = if_exists(folder / "tokenizer.json");
  return files;
}

std::unique_ptr<Objective> make_language_objective(const DataFiles& files, RunConfig& config) {
  TokenFile train = TokenFile::open(files.train);
  std::optional<TokenFile> validation;
  if (!files.validation.empty()) validation = TokenFile::open(files.validation);
  const int64_t known = files.tokenizer.empty() ? train.vocabulary() : load_tokenizer(files.tokenizer)->vocabulary();
  if (config.model().vocabulary() == 0) {
    if (known == 0) {
      throw Error(ExitCode::kUsage, files.train + " does not say how large its vocabulary is",
                  "set model.vocabulary, or put tokenizer.json beside the file");
    }
    config.mutable_model()->set_vocabulary(known);
  }
  if (known > config.model().vocabulary()) {
    throw Error(ExitCode::kUsage,
                "model.vocabulary is " + std::to_string(config.model().vocabulary()) + " but " + files.train + " has " +
                    std::to_string(known) + " ids",
                "raise model.vocabulary, or leave it out to take that of the data");
  }
  const bool apart = config.data().documents() == DataConfig::APART;
  for (const TokenFile* file : {&train, validation ? &*validation : nullptr}) {
    if (!apart || file == nullptr || !file->documents().empty()) continue;
    throw Error(ExitCode::kData,
                (file == &train ? files.train : files.validation) + " does not know its documents (data.documents)",
                "token files of `tsugi prepare` and Megatron's do");
  }
  return std::make_unique<CausalLm>(std::move(train), std::move(validation), config.model().vocabulary(),
                                    config.batch().sequence(), config.seed(), config.objective().causal_lm(),
                                    apart ? Documents::kApart : Documents::kJoined);
}

std::map<std::string, std::string> checkpoint_texts(const HuggingfaceModel& description,
                                                    const std::string& tokenizer_file, const std::string& from,
                                                    const AdapterConfig& adapter) {
  std::map<std::string, std::string> texts;
  if (!from.empty()) texts = carried_texts(from);
  if (!tokenizer_file.empty()) {
    std::string tokenizer = read_file(tokenizer_file, kMaxTokenizerBytes);
    if (!texts.contains("tokenizer.json") || texts["tokenizer.json"] != tokenizer) {
      std::erase_if(texts, [](const auto& file) { return file.first != "generation_config.json"; });
      texts["tokenizer_config.json"] = to_huggingface_tokenizer_config(description.model);
    }
    texts["tokenizer.json"] = std::move(tokenizer);
  }
  texts["config.json"] = to_huggingface_config(description);
  if (adapter.rank() > 0) {
    texts[kAdapterConfigFile] =
        to_adapter_config(adapter.rank(), static_cast<double>(adapter_scale(adapter)) * adapter.rank(),
                          std::filesystem::canonical(from), adapted_projections(description.model, adapter),
                          description.model.family() == ModelConfig::GPT2, !description.labels.empty());
  }
  return texts;
}

}  // namespace tsugi
