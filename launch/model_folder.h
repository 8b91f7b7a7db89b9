// A checkpoint folder opened for use: model, weights, tokenizer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/checkpoint/weight_folder.h"
#include "core/data/tokenizer/tokenizer.h"
#include "core/model/huggingface.h"
#include "core/model/transformer.h"
#include "launch/device_options.h"

namespace tsugi {

/// FOLDER, or the newest intact checkpoint when FOLDER is a run directory. Damaged ones are named on standard error.
std::string resolve_checkpoint(const std::string& folder);

/// A model for inference.
struct ModelFolder {
  std::string path;
  HuggingfaceModel description;
  ChosenDevice chosen;             ///< where the weights lie
  std::unique_ptr<Memory> memory;  ///< of that device
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<ParameterStore> store;
  std::unique_ptr<Transformer> model;

  /// Throws Error(kData) when there is no projection to the vocabulary: in an untied model with a classifier's head, in
  /// an encoder without its own.
  void require_language_model() const;
  /// The same, and when the model is an encoder, or has one: `purpose` needs one that predicts the next token.
  void require_causal_model(const std::string& purpose) const;
  /// The same, and when the model is an encoder without a decoder: `purpose` needs one that writes.
  void require_writing_model(const std::string& purpose) const;
  Context context() const { return Context(chosen.device(), *pool, *memory); }
};

/// What config.json says of a folder, less a pooler, a head for pairs and a discriminator that its weights do not have
/// (one class name stands for all).
HuggingfaceModel describe_folder(const std::string& path);

/// CPUs that this process may use.
int available_cpus();

/// Loads config.json and the weights of `folder` (see resolve_checkpoint), verifying the manifest if there is one, and
/// every tensor's name and shape. `threads` 0: all CPUs. `compute`: f32, or bf16 for weights of half the size and
/// activations rounded as in bf16 training; while they are read there are both, six bytes a parameter.
ModelFolder open_model(const std::string& folder, int threads, DType compute = DType::kF32);
/// The same on the device that the arguments choose; says on standard error which one it is, if it is not the CPU.
ModelFolder open_model(const std::string& folder, int threads, const DeviceArguments& computing);

/// Allocates `store` in the model's memory and fills it from the model's folder.
void load_store(ParameterStore& store, const ModelFolder& opened, DType compute);

/// The tensors that a folder must hold: those of its model, first ones first, and of a classifier's head.
std::vector<SavedTensor> folder_tensors(const HuggingfaceModel& description);

/// Throws Error(kData) naming the first tensor that is missing, has another shape, or does not belong to the model;
/// also when the folder's config.json ties its output projection to the token table, but the folder holds another one.
void check_folder(WeightFolder& weights, const HuggingfaceModel& description);

/// Throws Error(kUsage) when the folder is one of bottleneck adapters: they compute beside the weights, not in them.
void refuse_bottlenecks(const HuggingfaceModel& description, const std::string& folder, const std::string& purpose);

/// FOLDER/tokenizer.json, or an Error(kData) that says what needs it.
std::unique_ptr<Tokenizer> open_tokenizer(const std::string& folder, const std::string& purpose);

}  // namespace tsugi
