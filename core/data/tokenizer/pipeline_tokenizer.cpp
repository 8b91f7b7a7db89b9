#include "core/data/tokenizer/pipeline_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_set>

#include "core/data/utf8.h"

namespace tsugi {
namespace {

constexpr size_t kMaxAddedBytes = 4096;

std::vector<AddedToken> read_added_tokens(const JsonValue& list, const std::unordered_map<std::string, int32_t>& ids,
                                          int64_t size) {
  std::vector<AddedToken> tokens;
  std::unordered_set<std::string> contents;
  int64_t next = size;
  for (const JsonValue& element : list.elements()) {
    element.require_only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    AddedToken token;
    token.id = static_cast<int32_t>(element.require_int("id", 0, size + list.size() - 1));
    token.content = element.require_string("content");
    token.single_word = element.require_bool("single_word");
    token.lstrip = element.require_bool("lstrip");
    token.rstrip = element.require_bool("rstrip");
    token.normalized = element.require_bool("normalized");
    token.special = element.require_bool("special");
    if (token.content.empty()) throw element.require("content").error("is empty");
    if (token.content.size() > kMaxAddedBytes) {
      throw element.require("content").error("has more than " + std::to_string(kMaxAddedBytes) + " bytes");
    }
    if (!contents.insert(token.content).second) throw element.require("content").error("stands in the list before");
    const auto found = ids.find(token.content);
    const int64_t expected = found == ids.end() ? next++ : found->second;
    if (token.id != expected) {
      throw element.require("id").error(
          "is " + std::to_string(token.id) + ", where the vocabulary says " + std::to_string(expected),
          "ids have no holes, and a token that the model has keeps its id");
    }
    tokens.push_back(std::move(token));
  }
  std::ranges::sort(tokens, {}, &AddedToken::id);
  return tokens;
}

template <class OnText, class OnToken>
void find_tokens(const AddedTokenFinder& finder, std::string_view text, bool skip_special, const OnText& on_text,
                 const OnToken& on_token) {
  if (finder.empty()) {
    on_text(text);
  } else {
    finder.find(text, skip_special, on_text, on_token);
  }
}

}  // namespace

NamedTokens read_named_tokens(const JsonValue& vocabulary) {
  const int64_t size = vocabulary.size();
  if (size == 0) throw vocabulary.error("is empty");
  if (size > kMaxVocabularyTokens) {
    throw vocabulary.error("has more than " + std::to_string(kMaxVocabularyTokens) + " tokens");
  }
  // Not through members(): a value with its way for each of some 100,000 tokens would cost more than all the rest.
  NamedTokens tokens;
  tokens.names.resize(static_cast<size_t>(size));
  tokens.ids.reserve(static_cast<size_t>(size) * 2);
  for (const auto& [name, value] : vocabulary.raw().get_ref<const nlohmann::json::object_t&>()) {
    if (!value.is_number_integer() || value < 0 || value >= size) {
      // Fails with the reason and the way.
      vocabulary.require(name).as_int(0, size - 1);
    }
    const auto id = value.get<int32_t>();
    const std::string*& place = tokens.names[static_cast<size_t>(id)];
    if (place != nullptr) {
      throw vocabulary.require(name).error("has the id of \"" + place->substr(0, 80) + "\" too: " + std::to_string(id));
    }
    place = &name;
    if (name.empty()) throw vocabulary.require(name).error("a token is empty");
    tokens.ids.emplace(name, id);
  }
  return tokens;
}

PipelineTokenizer::PipelineTokenizer(const JsonValue& document, std::string text, bool byte_level)
    : text_(std::move(text)),
      normalizer_(document.require("normalizer")),
      pre_tokenizer_(document.require("pre_tokenizer"), byte_level) {}

void PipelineTokenizer::read_tokens(const JsonValue& document, const std::unordered_map<std::string, int32_t>& ids,
                                    int64_t size, const std::function<std::string(const std::string&)>& decoded) {
  added_ = read_added_tokens(document.require_array("added_tokens"), ids, size);
  std::vector<AddedToken> original;
  std::vector<AddedToken> normalized;
  std::set<std::string> contents;
  size_ = size;
  for (const AddedToken& token : added_) {
    size_ = std::max(size_, int64_t{token.id} + 1);
    const std::string content = token.normalized ? normalizer_.apply(token.content) : token.content;
    decoded_.push_back(decoded(content));
    if (!token.normalized) {
      original.push_back(token);
      continue;
    }
    normalized.push_back(token);
    normalized.back().content = content;
    if (content.empty() || !contents.insert(content).second) {
      throw document.require("added_tokens")
          .error("\"" + token.content.substr(0, 80) + "\" is empty or another token's when normalized");
    }
  }
  original_ = AddedTokenFinder(std::move(original));
  normalized_ = AddedTokenFinder(std::move(normalized));
  template_ = read_template(document.require("post_processor"), *this);
  by_id_.assign(static_cast<size_t>(size_), -1);
  for (size_t i = 0; i < added_.size(); ++i) by_id_[static_cast<size_t>(added_[i].id)] = static_cast<int32_t>(i);
}

std::vector<int32_t> PipelineTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  Work work;
  encode_whole(text, options, work);
  return std::move(work.ids);
}

void PipelineTokenizer::encode_whole(std::string_view text, const EncodeOptions& options, Work& work) const {
  work.skip_special = !options.special_tokens;
  work.ids.reserve(text.size() / 4 + 16);
  if (options.template_tokens) work.ids = template_.before;
  for (size_t at = 0; at < text.size();) {
    const size_t valid = valid_utf8_prefix(text.substr(at));
    if (valid > 0) encode_valid(text.substr(at, valid), at == 0, work);
    at += valid;
    // What is no UTF-8 is a piece of its own.
    size_t end = at;
    while (end < text.size() && code_point_at(text, end).bytes == 0) ++end;
    if (end > at) encode_invalid(text.substr(at, end - at), work);
    at = end;
  }
  if (options.template_tokens) work.ids.insert(work.ids.end(), template_.after.begin(), template_.after.end());
}

void PipelineTokenizer::encode_valid(std::string_view text, bool start, Work& work) const {
  const auto on_token = [&work](int32_t id) { work.ids.push_back(id); };
  const auto normalize = [&](std::string_view section) {
    const std::string changed = normalizer_.empty() ? "" : normalizer_.apply(section);
    const std::string_view normal = normalizer_.empty() ? section : changed;
    const bool first = start && section.data() == text.data();
    const auto plain = [&](std::string_view part) { encode_plain(part, first && part.data() == normal.data(), work); };
    find_tokens(normalized_, normal, work.skip_special, plain, on_token);
  };
  find_tokens(original_, text, work.skip_special, normalize, on_token);
}

void PipelineTokenizer::append_token(int32_t id, std::string& text) const {
  const int32_t added = by_id_[static_cast<size_t>(id)];
  if (added >= 0) {
    text += decoded_[static_cast<size_t>(added)];
  } else {
    append_model_token(id, text);
  }
}

std::optional<int32_t> PipelineTokenizer::find_token(std::string_view content) const {
  for (const AddedToken& token : added_) {
    if (token.content == content) return token.id;
  }
  return find_model_token(content);
}

bool PipelineTokenizer::is_special(int32_t id) const {
  const int32_t added = by_id_[static_cast<size_t>(id)];
  return added >= 0 && added_[static_cast<size_t>(added)].special;
}

}  // namespace tsugi
