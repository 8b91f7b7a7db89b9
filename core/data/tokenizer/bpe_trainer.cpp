#include "core/data/tokenizer/bpe_trainer.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <queue>
#include <ranges>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "core/data/tokenizer/byte_level.h"
#include "core/data/tokenizer/forms.h"
#include "core/data/utf8.h"

namespace tsugi {
namespace {

constexpr const char* kWordPiecePrefix = "##";

using Ids = std::unordered_map<std::string, int32_t>;
using PairKey = uint64_t;

PairKey key_of(int32_t left, int32_t right) { return static_cast<PairKey>(left) << 32 | static_cast<uint32_t>(right); }
struct PairHash {
  size_t operator()(PairKey key) const {
    key *= 0x9E3779B97F4A7C15u;
    return key ^ key >> 32;
  }
};

class Trainer {
 public:
  Trainer(const PieceCounter& pieces, const BpeTrainingOptions& options) : options_(options) {
    if (options.wordpiece_alphabet > 0) {
      read_characters(pieces);
    } else {
      add_first_tokens();
      read_words(pieces);
    }
    count_pairs();
  }

  BpeVocabulary run() {
    while (static_cast<int64_t>(result_.names.size()) < options_.vocabulary && !queue_.empty()) {
      Candidate top = std::move(const_cast<Candidate&>(queue_.top()));
      queue_.pop();
      const int64_t now = pairs_.find(top.pair)->second.count;
      if (top.count != now) {  // counts fall after a candidate was queued
        top.count = now;
        queue_.push(std::move(top));
        continue;
      }
      if (now < 1 || now < options_.min_frequency) break;
      merge(top);
    }
    drop_repeated_merges();
    return std::move(result_);
  }

 private:
  /// Symbols of a word, in symbols_.
  struct Word {
    uint64_t begin;
    uint32_t size;
  };
  /// Words where a pair stood when it was queued. As in Hugging Face's trainer, places that come up later are a
  /// candidate of their own: it makes a difference where two merges lead to the same token.
  using Places = std::vector<uint32_t>;
  struct Candidate {
    int64_t count;
    PairKey pair;
    Places places;
    bool operator<(const Candidate& other) const {  // the queue's top is the greatest
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };
  struct PairState {
    int64_t count = 0;
    int32_t touched = -1;  // index in touched_ while a merge is being done
  };

  int32_t add_token(const std::string& name) {
    const auto [place, fresh] = ids_.try_emplace(name, static_cast<int32_t>(result_.names.size()));
    if (fresh) result_.names.push_back(name);
    return place->second;
  }

  void add_first_tokens() {
    for (const std::string& special : options_.special_tokens) add_token(special);
    // In the order of the names' code points: the printable bytes, then the others.
    std::array<std::string, 256> names = byte_names();
    std::ranges::sort(names);  // UTF-8 sorts as code points do
    for (const std::string& name : names) add_token(name);
    for (size_t byte = 0; byte < 256; ++byte) bytes_[byte] = ids_.at(byte_names()[byte]);
  }

  void read_words(const PieceCounter& pieces) {
    for (const auto& [piece, count] : pieces.sorted()) {
      if (piece.size() < 2) continue;  // has no pairs
      words_.push_back({symbols_.size(), static_cast<uint32_t>(piece.size())});
      counts_.push_back(count);
      for (const char byte : piece) symbols_.push_back(bytes_[static_cast<uint8_t>(byte)]);
    }
  }

  /// Special tokens, characters ascending, then those inside words in the order of the words, and the words.
  void read_characters(const PieceCounter& pieces) {
    const auto all = pieces.sorted();
    const auto for_each = [](std::string_view word, const auto& visit) {
      for (size_t at = 0; at < word.size();) {
        const auto bytes = static_cast<size_t>(code_point_at(word, at).bytes);
        visit(word.substr(at, bytes), at == 0);
        at += bytes;
      }
    };
    std::map<std::string, int64_t, std::less<>> counts;
    for (const auto& [word, count] : all) {
      for_each(word, [&, count = count](std::string_view character, bool /*first*/) {
        const auto place = counts.find(character);
        if (place != counts.end()) {
          place->second += count;
        } else {
          counts.emplace(character, count);
        }
      });
    }
    std::vector<std::pair<int64_t, std::string_view>> order;  // the most frequent first
    for (const auto& [character, count] : counts) order.emplace_back(-count, character);
    std::ranges::sort(order);
    order.resize(std::min(order.size(), static_cast<size_t>(options_.wordpiece_alphabet)));
    std::set<std::string_view> alphabet;
    for (const auto& [count, character] : order) alphabet.insert(character);

    for (const std::string& special : options_.special_tokens) add_token(special);
    for (const std::string_view character : alphabet) add_token(std::string(character));
    for (const auto& [word, count] : all) {
      Word one{symbols_.size(), 0};
      for_each(word, [&](std::string_view character, bool first) {
        if (!alphabet.contains(character)) return;
        symbols_.push_back(add_token((first ? "" : kWordPiecePrefix) + std::string(character)));
        ++one.size;
      });
      words_.push_back(one);
      counts_.push_back(count);
    }
  }

  void count_pairs() {
    for (size_t w = 0; w < words_.size(); ++w) {
      const int32_t* symbols = &symbols_[words_[w].begin];
      for (uint32_t i = 0; i + 1 < words_[w].size; ++i) {
        change(key_of(symbols[i], symbols[i + 1]), counts_[w], static_cast<uint32_t>(w), true);
      }
    }
    queue_touched();
  }

  /// Notes that a pair's count changes in a word, and with `place` that it now stands there.
  void change(PairKey pair, int64_t count, uint32_t word, bool place) {
    PairState& state = pairs_[pair];
    state.count += count;
    if (!place) return;
    if (state.touched < 0) {
      state.touched = static_cast<int32_t>(touched_.size());
      touched_.emplace_back(pair, Places());
    }
    Places& places = touched_[static_cast<size_t>(state.touched)].second;
    if (places.empty() || places.back() != word) places.push_back(word);
  }

  void queue_touched() {
    for (auto& [pair, places] : touched_) {
      PairState& state = pairs_.find(pair)->second;
      state.touched = -1;
      places.shrink_to_fit();
      if (state.count > 0) queue_.push({state.count, pair, std::move(places)});
    }
    touched_.clear();
  }

  void merge(const Candidate& top) {
    const auto left = static_cast<int32_t>(top.pair >> 32);
    const auto right = static_cast<int32_t>(top.pair & 0xFFFFFFFFu);
    const std::string& end = result_.names[static_cast<size_t>(right)];
    const size_t prefix = options_.wordpiece_alphabet > 0 ? std::string_view(kWordPiecePrefix).size() : 0;
    const int32_t joined = add_token(result_.names[static_cast<size_t>(left)] + end.substr(prefix));
    result_.merges.emplace_back(left, right);
    for (const uint32_t word : top.places) merge_in(word, left, right, joined);
    queue_touched();
  }

  void merge_in(uint32_t index, int32_t left, int32_t right, int32_t joined) {
    Word& word = words_[index];
    const int64_t count = counts_[index];
    int32_t* symbols = &symbols_[word.begin];
    uint32_t to = 0;  // symbols before it are as they will be
    for (uint32_t from = 0; from < word.size;) {
      if (symbols[from] != left || from + 1 == word.size || symbols[from + 1] != right) {
        symbols[to++] = symbols[from++];
        continue;
      }
      if (to > 0) {
        change(key_of(symbols[to - 1], left), -count, index, false);
        change(key_of(symbols[to - 1], joined), count, index, true);
      }
      from += 2;
      if (from < word.size) {
        change(key_of(right, symbols[from]), -count, index, false);
        change(key_of(joined, symbols[from]), count, index, true);
      }
      symbols[to++] = joined;
    }
    word.size = to;
  }

  /// A pair that was merged twice has its last place in the list, as in Hugging Face's map of merges.
  void drop_repeated_merges() {
    std::unordered_set<PairKey, PairHash> seen;
    auto& merges = result_.merges;
    std::vector<std::pair<int32_t, int32_t>> kept;
    for (const auto& merge : std::views::reverse(merges)) {
      if (seen.insert(key_of(merge.first, merge.second)).second) kept.push_back(merge);
    }
    std::ranges::reverse(kept);
    merges = std::move(kept);
  }

  const BpeTrainingOptions& options_;
  BpeVocabulary result_;
  Ids ids_;
  std::array<int32_t, 256> bytes_{};
  std::vector<int32_t> symbols_;
  std::vector<Word> words_;
  std::vector<int64_t> counts_;
  std::unordered_map<PairKey, PairState, PairHash> pairs_;
  std::vector<std::pair<PairKey, Places>> touched_;
  std::priority_queue<Candidate> queue_;
};

void check_options(const BpeTrainingOptions& options) {
  const int64_t first = options.wordpiece_alphabet > 0 ? 1 : 256;
  std::unordered_set<std::string> seen;
  for (const std::string& special : options.special_tokens) {
    if (special.empty()) throw Error(ExitCode::kUsage, "a special token is empty");
    if (!seen.insert(special).second)
      throw Error(ExitCode::kUsage, "the special token \"" + special + "\" is given twice");
  }
  const auto least = first + static_cast<int64_t>(options.special_tokens.size());
  if (options.vocabulary < least || options.vocabulary > int64_t{1} << 24) {
    throw Error(ExitCode::kUsage,
                "a vocabulary of " + std::to_string(options.vocabulary) + " tokens; must be in [" +
                    std::to_string(least) + ", 16777216]",
                first > 1 ? "256 bytes and the special tokens are always in it"
                          : "the special tokens are always in it, and as many characters as --alphabet says");
  }
}

using Json = nlohmann::ordered_json;

Json vocabulary_json(const BpeVocabulary& vocabulary) {
  Json::object_t entries;  // filled without a search for each key
  for (size_t id = 0; id < vocabulary.names.size(); ++id) {
    static_cast<Json::object_t::Container&>(entries).emplace_back(vocabulary.names[id], id);
  }
  return entries;
}

Json special_tokens_json(const BpeTrainingOptions& options) {
  Json list = Json::array();
  for (size_t id = 0; id < options.special_tokens.size(); ++id) {
    list.push_back({{"id", id},
                    {"content", options.special_tokens[id]},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", true}});
  }
  return list;
}

}  // namespace

BpeVocabulary train_bpe(const PieceCounter& pieces, const BpeTrainingOptions& options) {
  check_options(options);
  return Trainer(pieces, options).run();
}

std::string bpe_tokenizer_json(const BpeVocabulary& vocabulary, const BpeTrainingOptions& options,
                               const PieceCounter::Options& pieces) {
  Json model = bpe_element(false);
  model["vocab"] = vocabulary_json(vocabulary);
  model["merges"] = Json::array();
  for (const auto& [left, right] : vocabulary.merges) {
    model["merges"].push_back(
        Json::array({vocabulary.names[static_cast<size_t>(left)], vocabulary.names[static_cast<size_t>(right)]}));
  }
  Json pre_tokenizer = byte_level_element(false, true);
  if (pieces.pattern != SplitPattern::kGpt2) {
    Json split;
    split["type"] = "Split";
    split["pattern"]["Regex"] = pattern_regex(pieces.pattern);
    split["behavior"] = "Isolated";
    split["invert"] = false;
    pre_tokenizer =
        Json{{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level_element(false, false)})}};
  }
  Json frame =
      Json::parse(frame_tokenizer_json(std::move(pre_tokenizer), byte_level_element(true, true), std::move(model)));
  frame["added_tokens"] = special_tokens_json(options);
  if (pieces.nfc) frame["normalizer"] = {{"type", "NFC"}};
  return frame.dump(2) + "\n";
}

std::string wordpiece_tokenizer_json(const BpeVocabulary& vocabulary, const BpeTrainingOptions& options,
                                     const BertNormalizer& normalizer) {
  const auto id_of = [&](const char* name) {
    const auto found = std::ranges::find(options.special_tokens, name);
    return found == options.special_tokens.end() ? -1 : static_cast<int>(found - options.special_tokens.begin());
  };
  if (id_of("[UNK]") < 0) throw Error(ExitCode::kUsage, "WordPiece needs a special token \"[UNK]\" (--special)");
  Json model{{"type", "WordPiece"},
             {"unk_token", "[UNK]"},
             {"continuing_subword_prefix", kWordPiecePrefix},
             {"max_input_chars_per_word", 100}};
  model["vocab"] = vocabulary_json(vocabulary);
  Json frame = Json::parse(
      frame_tokenizer_json(Json::object({{"type", "BertPreTokenizer"}}),
                           {{"type", "WordPiece"}, {"prefix", kWordPiecePrefix}, {"cleanup", true}}, std::move(model)));
  frame["added_tokens"] = special_tokens_json(options);
  frame["normalizer"] = {
      {"type", "BertNormalizer"},
      {"clean_text", normalizer.clean_text},
      {"handle_chinese_chars", normalizer.handle_chinese_chars},
      {"strip_accents", normalizer.strip_accents ? Json(*normalizer.strip_accents) : Json()},
      {"lowercase", normalizer.lowercase},
  };
  if (id_of("[CLS]") < 0 || id_of("[SEP]") < 0) return frame.dump(2) + "\n";
  const auto piece = [](const char* kind, const char* id, int segment) {
    return Json::object({{kind, {{"id", id}, {"type_id", segment}}}});
  };
  Json& around = frame["post_processor"];
  around["type"] = "TemplateProcessing";
  around["single"] =
      Json::array({piece("SpecialToken", "[CLS]", 0), piece("Sequence", "A", 0), piece("SpecialToken", "[SEP]", 0)});
  around["pair"] = around["single"];
  around["pair"].push_back(piece("Sequence", "B", 1));
  around["pair"].push_back(piece("SpecialToken", "[SEP]", 1));
  for (const char* name : {"[CLS]", "[SEP]"}) {
    around["special_tokens"][name] = {
        {"id", name}, {"ids", Json::array({id_of(name)})}, {"tokens", Json::array({name})}};
  }
  return frame.dump(2) + "\n";
}

}  // namespace tsugi
