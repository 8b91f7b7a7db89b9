#include <list>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "core/data/tokenizer/bpe_model.h"
#include "core/data/tokenizer/byte_fallback.h"
#include "core/data/tokenizer/byte_level.h"
#include "core/data/tokenizer/forms.h"
#include "core/data/tokenizer/pipeline_tokenizer.h"

namespace tsugi {
namespace {

constexpr int64_t kMaxMerges = int64_t{1} << 24;

/// `tokens` by content → id, and the merges of the model, from its JSON.
struct Vocabulary {
  std::vector<BpeModel::Token> tokens;
  std::unordered_map<std::string, int32_t> ids;  // by name as in the file
  std::vector<BpeMerge> merges;
};

/// With `fallback` names are texts; else they are byte-level.
void read_vocabulary(const JsonValue& element, bool fallback, Vocabulary& vocabulary) {
  NamedTokens named = read_named_tokens(element);
  vocabulary.ids = std::move(named.ids);
  vocabulary.tokens.reserve(named.names.size());
  for (const std::string* name : named.names) {
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
  if (count > kMaxMerges) throw merges.error("has more than " + std::to_string(kMaxMerges) + " merges");
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

class BpeTokenizer : public PipelineTokenizer {
 public:
  BpeTokenizer(const JsonValue& document, std::string text)
      : PipelineTokenizer(document, std::move(text), !has_fallback(document)),
        fallback_(has_fallback(document)),
        pattern_(pre_tokenizer().only_pattern()),
        model_(read_model(document.require_object("model"), fallback_, vocabulary_)) {
    std::optional<FallbackDecoder> decoder;
    if (fallback_) {
      decoder.emplace(document.require("decoder"));
      leading_spaces_ = decoder->leading_spaces();
      for (int32_t id = 0; id < model_.vocabulary(); ++id) texts_.push_back(decoder->apply(model_.bytes(id)));
    } else {
      check_decoder(document.require("decoder"));
    }
    read_tokens(document, vocabulary_.ids, model_.vocabulary(),
                [&](const std::string& content) { return decoder ? decoder->apply(content) : content; });
    vocabulary_ = {};
  }

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override {
    std::unique_ptr<BpeCache> cache = lease_cache();
    Work work;
    work.cache = cache.get();
    encode_whole(text, options, work);
    return_cache(std::move(cache));
    return std::move(work.ids);
  }

  size_t leading_spaces() const override { return leading_spaces_; }

 private:
  static bool has_fallback(const JsonValue& document) {
    return document.require_object("model").bool_or("byte_fallback", false);
  }

  void encode_plain(std::string_view text, bool start, Work& work) const override {
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
    for (const std::string_view piece : pre_tokenizer().split(text, start, store)) {
      model_.encode(piece, *work.cache, work.ids);
    }
  }

  void encode_invalid(std::string_view bytes, Work& work) const override {
    model_.encode(bytes, *work.cache, work.ids);
  }

  void append_model_token(int32_t id, std::string& text) const override {
    text += fallback_ ? texts_[static_cast<size_t>(id)] : model_.bytes(id);
  }

  std::optional<int32_t> find_model_token(std::string_view content) const override { return model_.find(content); }

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

  bool fallback_;
  Vocabulary vocabulary_;  // while reading
  std::optional<SplitPattern> pattern_;
  BpeModel model_;
  std::vector<std::string> texts_;  // with fallback_: what the model's tokens are decoded to
  size_t leading_spaces_ = 0;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<BpeCache>> caches_;
};

}  // namespace

std::unique_ptr<Tokenizer> read_bpe_tokenizer(const JsonValue& document, std::string text) {
  return std::make_unique<BpeTokenizer>(document, std::move(text));
}

}  // namespace tsugi
