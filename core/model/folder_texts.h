// The small files that travel with a model: tokenizer, generation settings.
#pragma once

#include <map>
#include <string>

#include "core/model/huggingface.h"

namespace tsugi {

/// Tokenizer files, chat template and generation_config.json of a Hugging Face folder, name → content, as they are.
std::map<std::string, std::string> carried_texts(const std::string& folder);

/// The text of generation_config.json for a model that has none yet.
std::string to_generation_config(const HuggingfaceModel& description);

}  // namespace tsugi
