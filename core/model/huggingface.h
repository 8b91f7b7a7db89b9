// The config.json of a checkpoint folder, as transformers writes and reads it.
//
// A family is a preset, so it does not decide the "model_type": what the model is does. gpt2; llama; mistral (a sliding
// window); arcee (ReLU²); qwen2 (biases on q, k, v alone); qwen3 (qk-norm); bert, roberta, distilbert and electra,
// whose heads "architectures" names (BertForMaskedLM, BertModel …); t5. What none of these can be (a logit soft-cap,
// say) is written as "model_type": "tsugi", which transformers refuses instead of computing something else.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/config/run.pb.h"

namespace tsugi {

/// Of models of span corruption whose tokenizer does not name its sentinels: the first one's id.
inline constexpr const char* kFirstSentinelField = "first_sentinel_token_id";

/// What a folder's config.json says.
struct HuggingfaceModel {
  ModelConfig model;                ///< resolved
  std::vector<std::string> labels;  ///< of a classification head
  /// "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id" and (ours) "mask_token_id", "cls_token_id" and
  /// "first_sentinel_token_id" as JSON
  /// text: a number, a list of numbers or null.
  std::map<std::string, std::string> token_ids;
  std::string dtype = "float32";  ///< of the stored weights, in PyTorch's words
  /// Bottlenecks that lie beside the weights of the folder (core/checkpoint/adapter_folder.h). Low-rank adapters are
  /// not here: they are part of the weights that are read.
  AdapterConfig adapter = {};
};

/// The text of config.json. `labels` not empty: that of a sequence classifier.
std::string to_huggingface_config(const HuggingfaceModel& description);

/// The text of tokenizer_config.json, without which AutoTokenizer would take the model's own kind of tokenizer instead
/// of what tokenizer.json says.
std::string to_huggingface_tokenizer_config(const ModelConfig& model);

/// "gpt2", "llama", … or "tsugi": see above.
std::string huggingface_model_type(const ModelConfig& model);

/// Reads FOLDER/config.json, in the spellings of transformers 4 and 5, and of bottlenecks adapter_config.json. Throws
/// Error(kData) naming the field for what this model cannot be (another architecture, another activation, another
/// scaling of positions …).
HuggingfaceModel load_huggingface_config(const std::string& folder);

/// The same from text; `origin` stands for the file in messages.
HuggingfaceModel parse_huggingface_config(const std::string& text, const std::string& origin);

}  // namespace tsugi
