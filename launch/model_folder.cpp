#include "launch/model_folder.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <iterator>

#include "core/checkpoint/adapter_folder.h"
#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/parameter_ranges.h"
#include "core/config/families.h"
#include "core/model/classifier_head.h"
#include "core/model/names.h"
#include "ops/base/error.h"
#include "ops/reduce/reduce.h"
#include "ops/tensor/copy.h"

namespace tsugi {

int available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

std::string resolve_checkpoint(const std::string& folder) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(folder)) {
    throw Error(ExitCode::kData, folder + ": there is no such folder",
                "give a checkpoint folder (RUN/checkpoints/step-…) or a run directory");
  }
  if (fs::exists(folder + "/config.json")) return folder;
  std::vector<std::string> damaged;
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  const std::string found = find_checkpoint(*alone, folder, damaged);
  for (const std::string& what : damaged) std::cerr << "tsugi: checkpoint passed over: " << what << "\n";
  if (found.empty()) {
    throw Error(ExitCode::kData, folder + ": neither a checkpoint folder nor a run directory with an intact one",
                "give a checkpoint folder (RUN/checkpoints/step-…) or a run directory");
  }
  return found;
}

HuggingfaceModel describe_folder(const std::string& path) {
  HuggingfaceModel description = load_huggingface_config(path);
  ModelConfig& model = description.model;
  if (!model.pooler() && !model.discriminator()) return description;
  const WeightFolder weights(path);
  const TensorNames names = tensor_names(model);
  if (model.pooler() && !weights.has(names.pooler + ".weight")) model.set_pooler(false);
  if (!model.pooler() || !weights.has(names.next_sentence + ".weight")) model.set_next_sentence_head(false);
  if (model.discriminator() && !weights.has(names.discriminator + ".weight")) model.set_discriminator(false);
  return description;
}

namespace {

ModelFolder open_on(ChosenDevice chosen, const std::string& folder, int threads, DType compute) {
  ModelFolder opened;
  opened.path = resolve_checkpoint(folder);
  if (std::filesystem::exists(opened.path + "/manifest.json")) verify_checkpoint(opened.path);
  opened.description = describe_folder(opened.path);
  opened.chosen = std::move(chosen);
  opened.memory = make_memory(opened.chosen.operators.get());
  opened.pool = std::make_unique<ThreadPool>(threads > 0 ? threads : available_cpus());
  opened.store = std::make_unique<ParameterStore>();
  WeightFolder weights(opened.path);
  check_folder(weights, opened.description);
  opened.model = std::make_unique<Transformer>(opened.description.model, *opened.store,
                                               opened.description.labels.empty(), opened.description.adapter);
  load_store(*opened.store, opened, compute);
  return opened;
}

}  // namespace

void load_store(ParameterStore& store, const ModelFolder& opened, DType compute) {
  HeapMemory heap;
  const Context host(Device{}, *opened.pool, heap);
  store.allocate(host, DType::kF32);
  fill_zero(host, store.working());
  load_weights(opened.path, saved_tensors(store), whole_tensors(store));
  if (compute != DType::kF32) {
    const Tensor read = store.working();
    store.allocate(host, compute);
    convert(host, read, store.working());
  }
  if (opened.chosen.operators == nullptr) return;
  const Tensor read = store.working();
  store.allocate(opened.context(), compute);
  copy_from_host(opened.context(), read.raw(), store.working());
}

ModelFolder open_model(const std::string& folder, int threads, DType compute) {
  return open_on({}, folder, threads, compute);
}

ModelFolder open_model(const std::string& folder, int threads, const DeviceArguments& computing) {
  ChosenDevice chosen = choose_device(computing.config());
  const bool on_cpu = chosen.operators == nullptr;
  if (!on_cpu) std::cerr << "tsugi: computes on " << chosen.description << "\n";
  const DType compute = computing.compute_on(chosen) == "BF16" ? DType::kBF16 : DType::kF32;
  return open_on(std::move(chosen), folder, threads, compute);
}

void ModelFolder::require_causal_model(const std::string& purpose) const {
  if (description.model.bidirectional()) {
    throw Error(ExitCode::kData,
                path + " holds an encoder, and " + purpose + " needs a model that predicts the next token",
                "tsugi fill-mask asks an encoder for hidden tokens");
  }
  if (has_decoder(description.model)) {
    throw Error(ExitCode::kData,
                path + " holds an encoder with a decoder, and " + purpose + " needs a model that goes on with a text");
  }
  require_language_model();
}

void ModelFolder::require_writing_model(const std::string& purpose) const {
  if (has_decoder(description.model)) return require_language_model();
  require_causal_model(purpose);
}

void ModelFolder::require_language_model() const {
  const bool encoder = is_bert_like(description.model);
  if (encoder && !description.model.head_transform()) {
    throw Error(ExitCode::kData, path + " holds an encoder without a head for the vocabulary",
                "take one whose \"architectures\" says ForMaskedLM");
  }
  if (description.labels.empty() || (description.model.tied() && !encoder)) return;
  throw Error(ExitCode::kData, path + " holds a classifier, which has no projection to the vocabulary",
              "give the checkpoint that it was fine-tuned from");
}

std::vector<SavedTensor> folder_tensors(const HuggingfaceModel& description) {
  ParameterStore store;
  const bool classifier = !description.labels.empty();
  const Transformer model(description.model, store, !classifier, description.adapter);
  std::vector<SavedTensor> tensors = saved_tensors(store);
  std::reverse(tensors.begin(), tensors.end());
  if (classifier) {
    ParameterStore heads;
    const ClassifierHead head(heads, description.model, static_cast<int64_t>(description.labels.size()));
    std::ranges::copy(saved_tensors(heads), std::back_inserter(tensors));
  }
  return tensors;
}

void check_folder(WeightFolder& weights, const HuggingfaceModel& description) {
  const std::vector<SavedTensor> tensors = folder_tensors(description);
  weights.check(tensors);
  weights.check_nothing_else(tensors);
  const TensorNames names = tensor_names(description.model);
  const std::string copy = names.output + ".weight";
  if (description.model.tied() && weights.has(copy)) weights.check_equal(names.token_table + ".weight", copy);
  for (const char* table : {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}) {
    if (has_decoder(description.model) && weights.has(table)) {
      weights.check_equal(names.token_table + ".weight", table);
    }
  }
  const std::string bias_copy = names.output + ".bias";
  const bool has_bias = !names.output_bias.empty() && names.output_bias != bias_copy && weights.has(names.output_bias);
  if (has_bias && weights.has(bias_copy)) weights.check_equal(names.output_bias, bias_copy);
}

void refuse_bottlenecks(const HuggingfaceModel& description, const std::string& folder, const std::string& purpose) {
  if (description.adapter.bottleneck() == 0) return;
  throw Error(ExitCode::kUsage,
              folder + " holds bottleneck adapters, which cannot be merged into weights: " + purpose + " needs weights",
              "name " + AdapterFolder(folder).base() + ", the model that they adapt");
}

std::unique_ptr<Tokenizer> open_tokenizer(const std::string& folder, const std::string& purpose) {
  const std::string path = folder + "/tokenizer.json";
  if (!std::filesystem::exists(path)) {
    throw Error(ExitCode::kData, folder + " has no tokenizer.json, which " + purpose + " needs",
                "put the tokenizer.json of the training data beside config.json");
  }
  return load_tokenizer(path);
}

}  // namespace tsugi
