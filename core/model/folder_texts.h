// The small files that travel with a model: tokenizer, generation settings.
#pragma once

#include <map>
#include <string>

#include "core/model/huggingface.h"

namespace tsugi {

/// Tokenizer files, chat template and generation_config.json of a Hugging Face folder, name → content, as they are.
std::map<std::string, std::string> carried_texts(const std::string& folder);

/// The files that make transformers' AutoTokenizer read the tokenizer.json beside them as it is: tokenizer_config.json,
/// and for "qwen2" tokenization_tsugi.py. For that type transformers 5 takes its own Qwen2Tokenizer, with Qwen 2's
/// pattern instead of the file's, whatever class tokenizer_config.json names (MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS
/// of its tokenization_auto.py), unless the folder brings code of its own; which it then does not run unless it is
/// trusted, but reads the file.
std::map<std::string, std::string> tokenizer_texts(const ModelConfig& model);

/// Whether the model continues texts: a decoder, and no classifier.
bool generates(const HuggingfaceModel& description);

/// The text of generation_config.json for a model that has none yet.
std::string to_generation_config(const HuggingfaceModel& description);

}  // namespace tsugi
