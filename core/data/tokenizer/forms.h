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
/// ByteLevel as pre-tokenizer: `split` false leaves the text in one piece. A decoder or post-processor has the same
/// members, but only the type means something there; the library writes true.
nlohmann::ordered_json byte_level_element(bool add_prefix_space, bool split);
/// A BPE model but its vocabulary and merges.
nlohmann::ordered_json bpe_element(bool ignore_merges);

/// Throws unless the member is `expected`.
void require_value(const JsonValue& object, std::string_view key, const nlohmann::json& expected);

/// Each reads the elements of the document that it wrote, and throws on anything else.
std::unique_ptr<Tokenizer> read_character_tokenizer(const JsonValue& document);
/// Byte-level BPE; `text` is the document's, kept for to_json().
std::unique_ptr<Tokenizer> read_bpe_tokenizer(const JsonValue& document, std::string text);
/// WordPiece, as BERT has it; `text` alike.
std::unique_ptr<Tokenizer> read_wordpiece_tokenizer(const JsonValue& document, std::string text);
/// Unigram, as T5 has it; `text` alike.
std::unique_ptr<Tokenizer> read_unigram_tokenizer(const JsonValue& document, std::string text);
/// The byte tokenizer, if the document is exactly its own.
std::unique_ptr<Tokenizer> read_byte_tokenizer(const JsonValue& document);

}  // namespace tsugi
