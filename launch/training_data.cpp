#include "launch/training_data.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <sstream>
#include <string_view>
#include <vector>

#include "core/checkpoint/adapter_folder.h"
#include "core/checkpoint/manifest.h"
#include "core/config/config.h"
#include "core/data/file.h"
#include "core/data/tokenizer/tokenizer.h"
#include "core/model/classifier_head.h"
#include "core/model/folder_texts.h"
#include "core/model/names.h"
#include "core/model/transformer.h"
#include "core/nn/adapter.h"
#include "core/objective/causal_lm.h"
#include "core/objective/masked_lm.h"
#include "core/objective/replaced_token_detection.h"
#include "launch/mask_token.h"
#include "launch/pair_data.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxTokenizerBytes = int64_t{1} << 30;

std::string if_exists(const fs::path& path) { return fs::exists(path) ? path.string() : std::string(); }

/// The token file that a folder of `tsugi prepare` trains on; what is given when it is none.
std::string training_file(const fs::path& given) {
  for (const char* name : {"train.bin", "train.index.json"}) {
    if (fs::exists(given / name)) return (given / name).string();
  }
  return given.string();
}

std::string require_path(const std::string& given, const char* field) {
  const std::string path = training_file(given);
  if (fs::exists(path) || is_pattern(path)) return path;
  throw Error(ExitCode::kData, path + ": there is no such file (" + field + ")",
              "`tsugi prepare --text DIR --out " + given + "` makes it from text");
}

std::string tokenizer_beside(const std::string& path) {
  return if_exists((fs::is_directory(path) ? fs::path(path) : fs::path(path).parent_path()) / "tokenizer.json");
}

/// The same token for every id that both know. The files themselves may differ: transformers writes them in its own
/// way.
bool same_shared_ids(const Tokenizer& a, const Tokenizer& b) {
  const int64_t shared = std::min(a.vocabulary(), b.vocabulary());
  for (int64_t id = 0; id < shared; ++id) {
    const auto token = static_cast<int32_t>(id);
    std::string of_a;
    std::string of_b;
    a.append_token(token, of_a);
    b.append_token(token, of_b);
    if (of_a != of_b || a.is_special(token) != b.is_special(token)) return false;
  }
  return true;
}

bool same_file(const std::string& a, const std::string& b) {
  return a == b || read_file(a, kMaxTokenizerBytes) == read_file(b, kMaxTokenizerBytes);
}

/// All sources, and what is validated on, must mean the same by an id.
void check_tokenizers(const DataFiles& files) {
  std::vector<std::string> paths;
  for (const DataFiles::Source& source : files.sources) paths.push_back(source.path);
  if (!files.validation.empty()) paths.push_back(files.validation);
  for (const std::string& path : paths) {
    const std::string other = tokenizer_beside(path);
    if (files.tokenizer.empty() || other.empty() || same_file(other, files.tokenizer)) continue;
    const std::unique_ptr<Tokenizer> theirs = load_tokenizer(other);
    const std::unique_ptr<Tokenizer> ours = load_tokenizer(files.tokenizer);
    if (theirs->vocabulary() == ours->vocabulary() && same_shared_ids(*theirs, *ours)) continue;
    throw Error(ExitCode::kData, other + " is not the tokenizer of " + files.tokenizer,
                "prepare all sources of a mixture, and what is validated on, with one --tokenizer");
  }
}

/// What a run validates on has no ids beyond its vocabulary: known before it trains for hours.
void check_validation(const TokenFile& file, int64_t vocabulary) {
  if (file.vocabulary() > vocabulary) {
    throw Error(ExitCode::kUsage,
                "model.vocabulary is " + std::to_string(vocabulary) + " but " + file.path() + ", to validate on, has " +
                    std::to_string(file.vocabulary()) + " ids",
                "prepare it with the --tokenizer of the training data, or raise model.vocabulary");
  }
  if (file.vocabulary() > 0) return;
  std::vector<int32_t> block(size_t{1} << 20);
  for (int64_t offset = 0; offset < file.tokens(); offset += static_cast<int64_t>(block.size())) {
    const int64_t count = std::min(file.tokens() - offset, static_cast<int64_t>(block.size()));
    file.read(offset, vocabulary, std::span(block).first(static_cast<size_t>(count)));
  }
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

/// The modules of a classifier's head: "score"; "classifier" and "pooler".
std::vector<std::string> head_modules(const HuggingfaceModel& description) {
  std::vector<std::string> modules;
  if (description.labels.empty()) return modules;
  ParameterStore store;
  const ClassifierHead head(store, description.model, static_cast<int64_t>(description.labels.size()));
  const std::string body = tensor_names(description.model).body;
  for (const ParameterInfo& info : store.tensors()) {
    const std::string name = info.name.starts_with(body) ? info.name.substr(body.size()) : info.name;
    const std::string module = name.substr(0, name.find('.'));
    if (std::ranges::find(modules, module) == modules.end()) modules.push_back(module);
  }
  return modules;
}

}  // namespace

DataFiles find_data(const DataConfig& config) {
  DataFiles files;
  if (config.mixture_size() == 0) files.sources.push_back({require_path(config.train(), "data.train"), 1.0});
  for (const MixtureSource& source : config.mixture()) {
    files.sources.push_back({require_path(source.path(), "data.mixture.path"), source.weight()});
  }
  files.train = files.sources.front().path;
  const fs::path folder = fs::is_directory(files.train) ? fs::path(files.train) : fs::path(files.train).parent_path();
  files.validation = config.validation();
  if (files.validation.empty()) files.validation = if_exists(folder / "validation.bin");
  if (files.validation.empty()) files.validation = if_exists(folder / "validation.index.json");
  if (files.validation == files.train) files.validation.clear();
  files.tokenizer = tokenizer_beside(files.train);
  check_tokenizers(files);
  return files;
}

void require_tokenizer_of(const std::string& checkpoint, const std::string& data, int64_t vocabulary) {
  const std::string own = if_exists(fs::path(checkpoint) / "tokenizer.json");
  if (own.empty()) return;
  const std::string other = tokenizer_beside(data);
  if (other.empty() && vocabulary == 0) return;
  if (other.empty()) {
    const int64_t known = load_tokenizer(own)->vocabulary();
    if (known == vocabulary) return;
    throw Error(ExitCode::kData,
                data + " was prepared with a vocabulary of " + std::to_string(vocabulary) + ", but " + own + " has " +
                    std::to_string(known) + " ids",
                "give tokens of the checkpoint's tokenizer (`tsugi prepare --tokenizer " + checkpoint +
                    "`), or put the tokenizer.json that they were prepared with beside them");
  }
  if (same_file(own, other) || same_shared_ids(*load_tokenizer(own), *load_tokenizer(other))) return;
  throw Error(ExitCode::kData, "the tokens of " + data + " are of another tokenizer: " + other + ", not " + own,
              "prepare the text with the checkpoint's: `tsugi prepare --tokenizer " + checkpoint + "`");
}

std::string larger_tokenizer(const std::string& checkpoint, const std::string& of_data) {
  const std::string own = if_exists(fs::path(checkpoint) / "tokenizer.json");
  if (own.empty() || of_data.empty() || same_file(own, of_data)) return own.empty() ? of_data : own;
  return load_tokenizer(of_data)->vocabulary() > load_tokenizer(own)->vocabulary() ? of_data : own;
}

std::unique_ptr<Objective> make_language_objective(const DataFiles& files, RunConfig& config,
                                                   const std::string& checkpoint) {
  LanguageData data;
  const std::unique_ptr<Tokenizer> tokenizer = files.tokenizer.empty() ? nullptr : load_tokenizer(files.tokenizer);
  int64_t known = tokenizer == nullptr ? 0 : tokenizer->vocabulary();
  for (const DataFiles::Source& source : files.sources) {
    data.train.push_back({TokenFile::open(source.path), source.weight});
    const int64_t stated = data.train.back().file.vocabulary();
    if (files.tokenizer.empty()) known = std::max(known, stated);
    if (!checkpoint.empty()) require_tokenizer_of(checkpoint, source.path, stated);
  }
  if (!files.validation.empty()) data.validation = TokenFile::open(files.validation);
  if (config.data().packing() == DataConfig::BEST_FIT) data.packing = Packing::kBestFit;
  if (config.data().packing() == DataConfig::WHOLE_DOCUMENTS) data.packing = Packing::kWholeDocuments;
  if (config.data().documents() == DataConfig::APART) data.documents = Documents::kApart;
  if (config.model().vocabulary() == 0) {
    if (known == 0) {
      throw Error(ExitCode::kUsage, files.train + " does not say how large its vocabulary is",
                  "set model.vocabulary, or put tokenizer.json beside the file");
    }
    config.mutable_model()->set_vocabulary(std::max(known, vocabulary_of_pairs(config.objective())));
  }
  if (known > config.model().vocabulary()) {
    throw Error(ExitCode::kUsage,
                "model.vocabulary is " + std::to_string(config.model().vocabulary()) + " but " + files.train + " has " +
                    std::to_string(known) + " ids",
                "raise model.vocabulary, or leave it out to take that of the data");
  }
  if (data.validation) check_validation(*data.validation, config.model().vocabulary());
  if (learns_pairs(config.objective())) return make_denoising_objective(std::move(data), tokenizer.get(), config);
  if (config.objective().has_masked_lm()) {
    MaskedLanguageModel& masked = *config.mutable_objective()->mutable_masked_lm();
    const int64_t vocabulary = config.model().vocabulary();
    resolve_tokens(masked, tokenizer.get(), vocabulary);
    Masking masking = masking_of(masked, tokenizer.get(), vocabulary);
    if (masked.next_sentence()) {
      return std::make_unique<NextSentence>(std::move(data.train.front().file), std::move(data.validation),
                                            config.batch().sequence(), config.seed(), std::move(masking),
                                            pair_rule_of(masked, tokenizer.get(), vocabulary));
    }
    return std::make_unique<MaskedLm>(std::move(data), config.batch().sequence(), config.seed(), std::move(masking));
  }
  if (config.objective().has_replaced_token_detection()) {
    ReplacedTokenDetection& replaced = *config.mutable_objective()->mutable_replaced_token_detection();
    replaced.set_mask_token(require_mask_token(replaced.mask_token(), tokenizer.get(), config.model().vocabulary()));
    return std::make_unique<ReplacedTokenObjective>(
        std::move(data), config.batch().sequence(), config.seed(),
        masking_of(*hiding_of(config.objective()), tokenizer.get(), config.model().vocabulary()), replaced,
        config.model());
  }
  return std::make_unique<CausalLm>(std::move(data), config.model().vocabulary(), config.batch().sequence(),
                                    config.seed(), config.objective().causal_lm());
}

int64_t samples_of_run(const RunConfig& config) {
  return config.steps() * int64_t{config.batch().micro_batch()} * int64_t{config.batch().micro_batches()};
}

std::string describe_data(const TrainingData& data, const RunConfig& config) {
  std::ostringstream text;
  for (const TrainingData::Share& share : data.shares(samples_of_run(config))) {
    text << share.path << ": " << share.tokens << " tokens, " << 100.0 * share.part << " % of the samples ("
         << share.taken << "), " << static_cast<double>(share.taken) / static_cast<double>(share.epoch_samples)
         << " epochs";
    if (share.fullness < 1.0) text << ", rows " << 100.0 * share.fullness << " % full";
    text << "\n";
  }
  return text.str();
}

std::map<std::string, std::string> checkpoint_texts(HuggingfaceModel description, const std::string& tokenizer_file,
                                                    const std::string& from, const AdapterConfig& adapter) {
  std::map<std::string, std::string> texts;
  if (!from.empty()) texts = carried_texts(from);
  if (!tokenizer_file.empty()) {
    std::string tokenizer = read_file(tokenizer_file, kMaxTokenizerBytes);
    if (!texts.contains("tokenizer.json") || texts["tokenizer.json"] != tokenizer) {
      std::erase_if(texts, [](const auto& file) { return file.first != "generation_config.json"; });
      texts.merge(tokenizer_texts(description.model));
    }
    if (generates(description)) {
      const std::optional<int32_t> end = parse_tokenizer(tokenizer, tokenizer_file)->end_of_text();
      if (end) description.token_ids.try_emplace("eos_token_id", std::to_string(*end));
    }
    texts["tokenizer.json"] = std::move(tokenizer);
  }
  texts["config.json"] = to_huggingface_config(description);
  if (generates(description)) texts.try_emplace("generation_config.json", to_generation_config(description));
  if (adapter.bottleneck() > 0) {
    texts[kAdapterConfigFile] =
        to_bottleneck_config(adapter, std::filesystem::canonical(from), head_modules(description));
  }
  if (adapter.rank() > 0) {
    texts[kAdapterConfigFile] =
        to_adapter_config(adapter.rank(), static_cast<double>(adapter_scale(adapter)) * adapter.rank(),
                          std::filesystem::canonical(from), adapted_projections(description.model, adapter),
                          description.model.family() == ModelConfig::GPT2, head_modules(description));
  }
  return texts;
}

}  // namespace tsugi
