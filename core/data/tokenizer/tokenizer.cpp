#include "core/data/tokenizer/tokenizer.h"

#include <algorithm>
#include <array>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/data/file.h"
#include "core/data/tokenizer/forms.h"
#include "core/data/utf8.h"

namespace tsugi {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 28;
constexpr const char* kReplacement = "\xEF\xBF\xBD";  // U+FFFD

/// How many bytes at `at` are the beginning of a character that more bytes could complete; 0: they are not.
size_t begun_character(std::string_view text, size_t at) {
  const size_t have = text.size() - at;
  if (have >= 4) return 0;
  // Whatever may follow is tried with the least and the greatest continuation byte.
  for (size_t more = 1; have + more <= 4; ++more) {
    for (const char fill : {'\x80', '\x90', '\xBF'}) {
      const std::string whole = std::string(text.substr(at)) + std::string(more, fill);
      if (static_cast<size_t>(code_point_at(whole, 0).bytes) == whole.size()) return have;
    }
  }
  return 0;
}

void check_id(int32_t id, int64_t vocabulary, const std::string& where) {
  if (id >= 0 && id < vocabulary) return;
  throw Error(ExitCode::kData,
              "id " + std::to_string(id) + where + " is not in the vocabulary of " + std::to_string(vocabulary));
}

}  // namespace

std::string Tokenizer::decode(const std::vector<int32_t>& ids, bool continues) const {
  const int64_t size = vocabulary();
  std::string text;
  text.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= size) check_id(ids[i], size, " at position " + std::to_string(i));
    if (i == 0 && !continues) {
      append_first_token(ids[i], text);
    } else {
      append_token(ids[i], text);
    }
  }
  if (!continues) text.erase(0, std::min(leading_spaces(), std::min(text.find_first_not_of(' '), text.size())));
  return text;
}

std::optional<int32_t> Tokenizer::end_of_text() const {
  constexpr std::array<std::string_view, 5> kNames = {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>",
                                                      "<｜end▁of▁sentence｜>"};
  for (const std::string_view name : kNames) {
    for (const AddedToken& token : added_tokens()) {
      if (token.special && token.content == name) return token.id;
    }
  }
  return std::nullopt;
}

std::string StreamDecoder::push(int32_t id) {
  check_id(id, tokenizer_.vocabulary(), "");
  if (skip_special_ && tokenizer_.is_special(id)) return {};
  if (std::exchange(first_, false)) {
    tokenizer_.append_first_token(id, pending_);
  } else {
    tokenizer_.append_token(id, pending_);
  }
  // Nothing has been said as long as these may be dropped.
  for (; leading_spaces_ > 0 && !pending_.empty(); --leading_spaces_) {
    if (pending_[0] != ' ') {
      leading_spaces_ = 0;
      break;
    }
    pending_.erase(0, 1);
  }
  std::string text;
  size_t at = 0;
  while (at < pending_.size()) {
    const CodePoint point = code_point_at(pending_, at);
    if (point.bytes > 0) {
      text.append(pending_, at, static_cast<size_t>(point.bytes));
      at += static_cast<size_t>(point.bytes);
      continue;
    }
    if (begun_character(pending_, at) > 0) break;
    text += kReplacement;
    // Unicode 15, 3.9: the longest beginning of a character that is there counts as one.
    size_t bad = 1;
    while (at + bad < pending_.size() && bad < 3 &&
           begun_character(std::string_view(pending_).substr(at, bad + 1), 0) > 0) {
      ++bad;
    }
    at += bad;
  }
  pending_.erase(0, at);
  return text;
}

std::string StreamDecoder::finish() {
  const std::string text = pending_.empty() ? "" : kReplacement;
  pending_.clear();
  return text;
}

std::vector<std::vector<int32_t>> encode_documents(ThreadPool& pool, const Tokenizer& tokenizer,
                                                   std::span<const std::string_view> documents,
                                                   const EncodeOptions& options) {
  std::vector<std::vector<int32_t>> ids(documents.size());
  std::vector<std::exception_ptr> errors(documents.size());
  pool.for_each(static_cast<int64_t>(documents.size()), [&](int64_t index, int /*worker*/) {
    const auto i = static_cast<size_t>(index);
    try {
      ids[i] = tokenizer.encode(documents[i], options);
    } catch (...) {
      errors[i] = std::current_exception();
    }
  });
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  return ids;
}

std::string frame_tokenizer_json(nlohmann::ordered_json pre_tokenizer, nlohmann::ordered_json decoder,
                                 nlohmann::ordered_json model) {
  nlohmann::ordered_json frame;
  frame["version"] = "1.0";
  frame["truncation"] = nullptr;
  frame["padding"] = nullptr;
  frame["added_tokens"] = nlohmann::ordered_json::array();
  frame["normalizer"] = nullptr;
  frame["pre_tokenizer"] = std::move(pre_tokenizer);
  frame["post_processor"] = nullptr;
  frame["decoder"] = std::move(decoder);
  frame["model"] = std::move(model);
  return frame.dump(2) + '\n';
}

nlohmann::ordered_json byte_level_element(bool add_prefix_space, bool split) {
  nlohmann::ordered_json value;
  value["type"] = "ByteLevel";
  value["add_prefix_space"] = add_prefix_space;
  value["trim_offsets"] = true;
  value["use_regex"] = split;
  return value;
}

nlohmann::ordered_json bpe_element(bool ignore_merges) {
  nlohmann::ordered_json value;
  value["type"] = "BPE";
  value["dropout"] = nullptr;
  value["unk_token"] = nullptr;
  value["continuing_subword_prefix"] = nullptr;
  value["end_of_word_suffix"] = nullptr;
  value["fuse_unk"] = false;
  value["byte_fallback"] = false;
  value["ignore_merges"] = ignore_merges;
  return value;
}

void require_value(const JsonValue& object, std::string_view key, const nlohmann::json& expected) {
  const JsonValue value = object.require(key);
  if (value.raw() == expected) return;
  // A container that differs may be of any size: only scalars are shown.
  const std::string found = value.raw().is_structured() ? value.raw().type_name() : value.raw().dump();
  throw value.error(found + " is not supported; must be " + expected.dump());
}

std::unique_ptr<Tokenizer> parse_tokenizer(std::string text, const std::string& origin) {
  const JsonValue document = parse_json(text, origin);
  document.require_only({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                         "post_processor", "decoder", "model"});
  require_value(document, "version", "1.0");
  for (const char* key : {"truncation", "padding"}) require_value(document, key, nullptr);
  const JsonValue model = document.require_object("model");
  // GPT-2's own file has no type.
  const std::string type = model.string_or("type", "BPE");
  if (type == "WordLevel") return read_character_tokenizer(document);
  if (type == "WordPiece") return read_wordpiece_tokenizer(document, std::move(text));
  if (type == "Unigram") return read_unigram_tokenizer(document, std::move(text));
  if (type != "BPE") {
    throw model.require("type").error(
        "\"" + type.substr(0, 80) + "\" is not supported",
        "tsugi reads BPE, byte-level or with byte_fallback, WordPiece, Unigram, and WordLevel of single characters");
  }
  if (auto bytes = read_byte_tokenizer(document)) return bytes;
  return read_bpe_tokenizer(document, std::move(text));
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path) {
  return parse_tokenizer(read_file(path, kMaxFileBytes), path);
}

}  // namespace tsugi
