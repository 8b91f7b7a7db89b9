// A checkpoint folder opened for use: model, weights, tokenizer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/data/tokenizer/tokenizer.h"
#include "core/model/huggingface.h"
#include "core/model/transformer.h"

namespace tsugi {

/// FOLDER, or the newest intact checkpoint when FOLDER is a run directory. Damaged ones are named on standard error.
std::string resolve_checkpoint(const std::string& folder);

/// A model for inference in fp32.
struct ModelFolder {
  std::string path;
  HuggingfaceModel description;
  std::unique_ptr<HeapMemory> memory;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<ParameterStore> store;
  std::unique_ptr<Transformer> model;

  Context context() const { return Context(Device{}, *pool, *memory); }
};

/// Loads config.json and model.safetensors of `folder` (see resolve_checkpoint), verifying the manifest if there is
/// one. `threads` 0: all CPUs.
ModelFolder open_model(const std::string& folder, int threads);

/// FOLDER/tokenizer.json, or an Error(kData) that says what needs it.
std::unique_ptr<Tokenizer> open_tokenizer(const std::string& folder, const std::string& purpose);

}  // namespace tsugi
