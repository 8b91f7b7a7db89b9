// What the kinds of tokenizers share: the frame of tokenizer.json, written and read.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "core/data/json.h"
#include "core/data/tokenizer/tokenizer.h"

namespace tsugi {

/// The text of a tokenizer.json without added tokens, normalizer and post-processor.
std::string frame_tokenizer_json(nlohmann::ordered_json pre_tokenizer, nlohmann::ordered_json decoder,
                                 nlohmann::ordered_json model);

/// Throws unless the member is `expected`.
void require_value(const JsonValue& object, std::string_view key, const nlohmann::json& expected);

/// Each reads the elements of the document that it wrote, and throws on anything else.
std::unique_ptr<Tokenizer> read_byte_tokenizer(const JsonValue& document);
std::unique_ptr<Tokenizer> read_character_tokenizer(const JsonValue& document);

}  // namespace tsugi
