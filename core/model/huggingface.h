// The config.json of a checkpoint folder, as transformers writes and reads it.
#pragma once

#include <string>
#include <vector>

#include "core/config/run.pb.h"

namespace tsugi {

/// The text of config.json: GPT2LMHeadModel, or GPT2ForSequenceClassification when `labels` is not empty.
std::string to_huggingface_config(const ModelConfig& model, const std::vector<std::string>& labels);

/// The text of tokenizer_config.json, without which AutoTokenizer would take the model's own kind of tokenizer instead
/// of what tokenizer.json says.
std::string to_huggingface_tokenizer_config(const ModelConfig& model);

/// What a folder's config.json says.
struct HuggingfaceModel {
  ModelConfig model;
  std::vector<std::string> labels;  ///< of a classification head
};

/// Reads FOLDER/config.json. Throws Error(kData) naming the field for what this model cannot be (another architecture,
/// another activation, untied embeddings …).
HuggingfaceModel load_huggingface_config(const std::string& folder);

}  // namespace tsugi
