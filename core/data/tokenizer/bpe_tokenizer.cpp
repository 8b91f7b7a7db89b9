#include <algorithm>
#include <limits>
#include <list>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "core/data/tokenizer/bpe_model.h"
#include "core/data/tokenizer/byte_fallback.h"
#include "core/data/tokenizer/byte_level.h"
#include "core/data/tokenizer/forms.h"
#include "core/data/tokenizer/normalizer.h"
#include "core/data/tokenizer/pre_tokenizer.h"
#include "core/data/tokenizer/tokenizer_template.h"
#include "core/data/utf8.h"

namespace tsugi {
namespace {

constexpr int64_t kMaxTokens = int64_t{1} << 24;
constexpr size_t kMaxAddedBytes = 4096;

/// `tokens` by content → id, and the merges of the model, from its JSON.
struct Vocabulary {
  std::vector<BpeModel::Token> tokens;
  std::unordered_map<std::string, int32_t> ids;  // by name as in the file
  std::vector<BpeMerge> merges;
};

/// With `fallback` names are texts; else they are byte-level.
void read_vocabulary(const JsonValue& element, bool fallback, Vocabulary& vocabulary) {
  const int64_t size = element.size();
  if (size == 0) throw element.error("is empty");
  if (size > kMaxTokens) throw element.error("has more than " + std::to_string(kMaxTokens) + " tokens");
  // Not through members(): a value with its way for each of some 100,000 tokens would cost more than all the rest.
  std::vector<const std::string*> names(static_cast<size_t>(size));
  vocabulary.ids.reserve(static_cast<size_t>(size) * 2);
  for (const auto& [name, value] : element.raw().get_ref<const nlohmann::json::object_t&>()) {
    if (!value.is_number_integer() || value < 0 || value >= size) {
      // Fails with the reason and the way.
      element.require(name).as_int(0, size - 1);
    }
    const auto id = value.get<int32_t>();
    const std::string*& place = names[static_cast<size_t>(id)];
    if (place != nullptr) {
      throw element.require(name).error("has the id of \"" + place->substr(0, 80) + "\" too: " + std::to_string(id));
    }
    place = &name;
    if (name.empty()) throw element.require(name).error("a token is empty");
    vocabulary.ids.emplace(name, id);
  }
  vocabulary.tokens.reserve(names.size());
  for (const std::string* name : names) {
    std::optional<std::string> bytes = fallback ? *name : from_byte_names(*name);
    const bool text = bytes.has_value();
    vocabulary.tokens.push_back({text ? *std::move(bytes) : *name, text});
  }
}

std::pair<std::string, std::string> read_merge(const JsonValue& merges, int64_t index) {
  const nlohmann::json& raw = merges.raw()[static_cast<size_t>(index)];
  if (raw.is_string()) {
    const auto& text = raw.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  } else if (raw.is_array() && raw.size() == 2 && raw[0].is_string() && raw[1].is_string()) {
    return {raw[0].get<std::string>(), raw[1].get<std::string>()};
  }
  throw merges.at(index).error("must be \"LEFT RIGHT\" or [\"LEFT\", \"RIGHT\"]");
}

void read_merges(const JsonValue& merges, Vocabulary& vocabulary) {
  const int64_t count = merges.size();
  if (count > kMaxTokens) throw merges.error("has more than " + std::to_string(kMaxTokens) + " merges");
  std::unordered_set<uint64_t> seen;
  seen.reserve(static_cast<size_t>(count) * 2);
  vocabulary.merges.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const auto [left, right] = read_merge(merges, i);
    const auto id_of = [&, index = i](const std::string& name) {
      const auto found = vocabulary.ids.find(name);
      if (found == vocabulary.ids.end()) {
        throw merges.at(index).error("\"" + name.substr(0, 80) + "\" is not in the vocabulary");
      }
      return found->second;
    };
    if (left.empty() || right.empty()) throw merges.at(i).error("one side is empty");
    const BpeMerge merge{id_of(left), id_of(right), id_of(left + right)};
    if (!seen.insert(static_cast<uint64_t>(merge.left) << 32 | static_cast<uint32_t>(merge.right)).second) {
      throw merges.at(i).error("the same merge stands in the list before");
    }
    vocabulary.merges.push_back(merge);
  }
}

/// The tokens of the 256 bytes.
std::array<int32_t, 256> read_fallback(const JsonValue& model, const Vocabulary& vocabulary) {
  std::array<int32_t, 256> ids{};
  for (size_t byte = 0; byte < ids.size(); ++byte) {
    const std::string name = fallback_name(static_cast<uint8_t>(byte));
    const auto found = vocabulary.ids.find(name);
    if (found == vocabulary.ids.end()) {
      throw model.require("byte_fallback").error("is true, but " + name + " is not in the vocabulary");
    }
    ids[byte] = found->second;
  }
  return ids;
}

BpeModel read_model(const JsonValue& model, bool fallback, Vocabulary& vocabulary) {
  model.require_only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                      "byte_fallback", "ignore_merges", "vocab", "merges"});
  if (model.double_or("dropout", 0.0) != 0.0) throw model.require("dropout").error("is not supported; must be null");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.string_or(key, "").empty()) throw model.require(key).error("is not supported; must be null");
  }
  model.bool_or("fuse_unk", false);
  const bool ignore_merges = model.bool_or("ignore_merges", false);
  read_vocabulary(model.require_object("vocab"), fallback, vocabulary);
  read_merges(model.require_array("merges"), vocabulary);
  // With all bytes there, nothing is ever unknown.
  if (fallback) {
    const std::array<int32_t, 256> bytes = read_fallback(model, vocabulary);
    return BpeModel(std::move(vocabulary.tokens), std::move(vocabulary.merges), ignore_merges, bytes);
  }
  BpeModel result(std::move(vocabulary.tokens), std::move(vocabulary.merges), ignore_merges);
  if (!model.string_or("unk_token", "").empty() && !result.complete()) {
    throw model.require("unk_token").error("is not supported in a vocabulary that lacks some of the 256 bytes");
  }
  return result;
}

std::vector<AddedToken> read_added_tokens(const JsonValue& list, const Vocabulary& vocabulary, int64_t size) {
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
    const auto found = vocabulary.ids.find(token.content);
    const int64_t expected = found == vocabulary.ids.end() ? next++ : found->second;
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

void check_decoder(const JsonValue& element) {
  const std::string type = element.is_null() ? "null" : element.require_string("type");
  if (type == "ByteLevel") {
    element.require_only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  } else if (type == "Sequence") {
    // Fuse after ByteLevel has nothing left to do.
    element.require_only({"type", "decoders"});
    const std::vector<JsonValue> steps = element.require_array("decoders").elements();
    if (steps.empty()) throw element.error("has no ByteLevel, and only byte-level vocabularies are supported");
    check_decoder(steps[0]);
    for (size_t i = 1; i < steps.size(); ++i) {
      steps[i].require_only({"type"});
      require_value(steps[i], "type", "Fuse");
    }
  } else {
    throw element.error("\"" + type.substr(0, 80) + "\" is not supported; must be ByteLevel");
  }
}

class BpeTokenizer : public Tokenizer {
 public:
  BpeTokenizer(const JsonValue& document, std::string text)
      : text_(std::move(text)),
        fallback_(document.require_object("model").bool_or("byte_fallback", false)),
        normalizer_(document.require("normalizer")),
        pre_tokenizer_(document.require("pre_tokenizer"), !fallback_),
        pattern_(pre_tokenizer_.only_pattern()),
        model_(read_model(document.require_object("model"), fallback_, vocabulary_)),
        added_(read_added_tokens(document.require_array("added_tokens"), vocabulary_, model_.vocabulary())) {
    std::optional<FallbackDecoder> decoder;
    if (fallback_) {
      decoder.emplace(document.require("decoder"));
      leading_spaces_ = decoder->leading_spaces();
      for (int32_t id = 0; id < model_.vocabulary(); ++id) texts_.push_back(decoder->apply(model_.bytes(id)));
    } else {
      check_decoder(document.require("decoder"));
    }
    std::vector<AddedToken> original;
    std::vector<AddedToken> normalized;
    std::set<std::string> contents;
    size_ = model_.vocabulary();
    for (const AddedToken& token : added_) {
      size_ = std::max(size_, int64_t{token.id} + 1);
      decoded_.push_back(token.normalized ? normalizer_.apply(token.content) : token.content);
      if (!token.normalized) {
        original.push_back(token);
        continue;
      }
      normalized.push_back(token);
      normalized.back().content = decoded_.back();
      if (normalized.back().content.empty() || !contents.insert(normalized.back().content).second) {
        throw document.require("added_tokens")
            .error("\"" + token.content.substr(0, 80) + "\" is empty or another token's when normalized");
      }
    }
    if (decoder) {
      for (std::string& one : decoded_) one = decoder->apply(one);
    }
    original_ = AddedTokenFinder(std::move(original));
    normalized_ = AddedTokenFinder(std::move(normalized));
    template_ = read_template(document.require("post_processor"), *this);
    by_id_.assign(static_cast<size_t>(size_), -1);
    for (size_t i = 0; i < added_.size(); ++i) by_id_[static_cast<size_t>(added_[i].id)] = static_cast<int32_t>(i);
    vocabulary_ = {};
  }

  int64_t vocabulary() const override { return size_; }

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override {
    Work work{lease_cache(), {}, !options.special_tokens};
    work.ids.reserve(text.size() / 4 + 16);
    if (options.template_tokens) work.ids = template_.before;
    for (size_t at = 0; at < text.size();) {
      const size_t valid = valid_utf8_prefix(text.substr(at));
      if (valid > 0) encode_valid(text.substr(at, valid), at == 0, work);
      at += valid;
      // What is no UTF-8 is a piece of its own.
      size_t end = at;
      while (end < text.size() && code_point_at(text, end).bytes == 0) ++end;
      if (end > at) model_.encode(text.substr(at, end - at), *work.cache, work.ids);
      at = end;
    }
    if (options.template_tokens) work.ids.insert(work.ids.end(), template_.after.begin(), template_.after.end());
    return_cache(std::move(work.cache));
    return std::move(work.ids);
  }

  void append_token(int32_t id, std::string& text) const override {
    const int32_t added = by_id_[static_cast<size_t>(id)];
    if (added >= 0) {
      text += decoded_[static_cast<size_t>(added)];
    } else {
      text += fallback_ ? texts_[static_cast<size_t>(id)] : model_.bytes(id);
    }
  }

  size_t leading_spaces() const override { return leading_spaces_; }

  std::optional<int32_t> find_token(std::string_view content) const override {
    for (const AddedToken& token : added_) {
      if (token.content == content) return token.id;
    }
    return model_.find(content);
  }

  std::span<const AddedToken> added_tokens() const override { return added_; }

  bool is_special(int32_t id) const override {
    const int32_t added = by_id_[static_cast<size_t>(id)];
    return added >= 0 && added_[static_cast<size_t>(added)].special;
  }

  std::string to_json() const override { return text_; }

 private:
  struct Work {
    std::unique_ptr<BpeCache> cache;
    std::vector<int32_t> ids;
    bool skip_special;
  };

  /// `start`: nothing stands before `text`.
  void encode_valid(std::string_view text, bool start, Work& work) const {
    const auto on_token = [&work](int32_t id) { work.ids.push_back(id); };
    const auto normalize = [&](std::string_view section) {
      const std::string changed = normalizer_.empty() ? "" : normalizer_.apply(section);
      const std::string_view normal = normalizer_.empty() ? section : changed;
      const bool first = start && section.data() == text.data();
      const auto plain = [&](std::string_view part) {
        encode_plain(part, first && part.data() == normal.data(), work);
      };
      find(normalized_, normal, work, plain, on_token);
    };
    find(original_, text, work, normalize, on_token);
  }

  template <class OnText, class OnToken>
  static void find(const AddedTokenFinder& finder, std::string_view text, const Work& work, const OnText& on_text,
                   const OnToken& on_token) {
    if (finder.empty()) {
      on_text(text);
    } else {
      finder.find(text, work.skip_special, on_text, on_token);
    }
  }

  void encode_plain(std::string_view text, bool start, Work& work) const {
    if (pattern_) {
      const char* const end = text.data() + text.size();
      for (const char* p = text.data(); p < end;) {
        const char* const next = piece_end(*pattern_, p, end);
        model_.encode({p, static_cast<size_t>(next - p)}, *work.cache, work.ids);
        p = next;
      }
      return;
    }
    std::list<std::string> store;
    for (const std::string_view piece : pre_tokenizer_.split(text, start, store)) {
      model_.encode(piece, *work.cache, work.ids);
    }
  }

  // A cache belongs to one call at a time. There are as many as there were calls at once.
  std::unique_ptr<BpeCache> lease_cache() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (caches_.empty()) return std::make_unique<BpeCache>();
    std::unique_ptr<BpeCache> cache = std::move(caches_.back());
    caches_.pop_back();
    return cache;
  }
  void return_cache(std::unique_ptr<BpeCache> cache) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    caches_.push_back(std::move(cache));
  }

  std::string text_;  // the file
  bool fallback_;
  Vocabulary vocabulary_;  // while reading
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::optional<SplitPattern> pattern_;
  BpeModel model_;
  std::vector<AddedToken> added_;     // ascending by id
  std::vector<std::string> decoded_;  // of added_: their contents, normalized where they are met so
  std::vector<int32_t> by_id_;        // index in added_, or -1
  std::vector<std::string> texts_;    // with fallback_: what the model's tokens are decoded to
  size_t leading_spaces_ = 0;
  AddedTokenFinder original_;
  AddedTokenFinder normalized_;
  TokenTemplate template_;
  int64_t size_ = 0;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<BpeCache>> caches_;
};

}  // namespace

std::unique_ptr<Tokenizer> read_bpe_tokenizer(const JsonValue& document, std::string text) {
  return std::make_unique<BpeTokenizer>(document, std::move(text));
}

}  // namespace tsugi
