#include "core/data/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <ranges>
#include <utility>

#include "core/data/tokenizer/bert_text.h"
#include "core/data/tokenizer/normalizer.h"
#include "core/data/tokenizer/unicode_categories.h"
#include "core/data/utf8.h"

namespace tsugi {
namespace {

/// Digits asks Rust's char::is_numeric, which knows Unicode 17's numbers already.
bool is_numeric(char32_t c) {
  if ((c >= 0x11DE0 && c <= 0x11DE9) || (c >= 0x16FF4 && c <= 0x16FF6)) return true;
  return (character_classes()[c] & kNumber) != 0;
}

bool is_white_space(char32_t c) { return (character_classes()[c] & kSpace) != 0; }

}  // namespace

PreTokenizer::PreTokenizer(const JsonValue& element, bool byte_level) : wants_byte_level_(byte_level) {
  if (element.is_null()) {
    if (byte_level) throw element.error("is null; a byte-level vocabulary needs ByteLevel");
    return;
  }
  read(element);
  if (byte_level && !byte_level_)
    throw element.error("has no ByteLevel, which a vocabulary without byte_fallback needs");
}

void PreTokenizer::read(const JsonValue& element) {
  const std::string type = element.require_string("type");
  if (type == "Sequence") {
    element.require_only({"type", "pretokenizers"});
    for (const JsonValue& one : element.require_array("pretokenizers").elements()) read(one);
    return;
  }
  if (byte_level_) throw element.error("stands after ByteLevel, where the text is bytes already: not supported");
  Step step;
  if (type == "ByteLevel" && wants_byte_level_) {
    element.require_only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    byte_level_ = true;
    element.bool_or("trim_offsets", true);
    if (element.require_bool("add_prefix_space")) {
      step.prefix_space = true;
      steps_.push_back(std::move(step));
    }
    if (element.bool_or("use_regex", true)) {
      Step split;
      split.pattern = SplitPattern::kGpt2;
      steps_.push_back(std::move(split));
    }
  } else if (type == "Split") {
    read_split(element);
  } else if (type == "Digits") {
    element.require_only({"type", "individual_digits"});
    step.matches = is_numeric;
    step.behaviour = element.require_bool("individual_digits") ? Behaviour::kIsolated : Behaviour::kContiguous;
    steps_.push_back(std::move(step));
  } else if (type == "BertPreTokenizer") {
    element.require_only({"type"});
    Step spaces;
    spaces.matches = is_bert_space;
    spaces.behaviour = Behaviour::kRemoved;
    steps_.push_back(std::move(spaces));
    step.matches = is_bert_punctuation;
    steps_.push_back(std::move(step));
  } else if (type == "WhitespaceSplit") {
    element.require_only({"type"});
    step.matches = is_white_space;
    step.behaviour = Behaviour::kRemoved;
    steps_.push_back(std::move(step));
  } else if (type == "Metaspace" && !wants_byte_level_) {
    read_metaspace(element);
  } else {
    throw element.require("type").error("\"" + type.substr(0, 80) + "\" is not supported",
                                        "tsugi reads Split, Digits, BertPreTokenizer, WhitespaceSplit and Sequence, "
                                        "ByteLevel in byte-level vocabularies and "
                                        "Metaspace in others");
  }
}

void PreTokenizer::read_split(const JsonValue& element) {
  constexpr std::array<std::pair<std::string_view, Behaviour>, 5> kBehaviours = {
      {{"Removed", Behaviour::kRemoved},
       {"Isolated", Behaviour::kIsolated},
       {"MergedWithPrevious", Behaviour::kMergedWithPrevious},
       {"MergedWithNext", Behaviour::kMergedWithNext},
       {"Contiguous", Behaviour::kContiguous}}};
  element.require_only({"type", "pattern", "behavior", "invert"});
  Step step;
  const std::string behaviour = element.require_string("behavior");
  const auto* const found = std::ranges::find(kBehaviours, behaviour, [](const auto& one) { return one.first; });
  if (found == kBehaviours.end()) throw element.require("behavior").error("is not a behaviour");
  step.behaviour = found->second;
  step.invert = element.require_bool("invert");
  const JsonValue pattern = element.require_object("pattern");
  if (step.behaviour == Behaviour::kIsolated && pattern.has("Regex")) {
    step.pattern = known_pattern(pattern.require_string("Regex"));
  }
  if (step.pattern) {
    pattern.require_only({"Regex"});
  } else {
    step.regex.emplace(read_pattern(pattern));
  }
  steps_.push_back(std::move(step));
}

void PreTokenizer::read_metaspace(const JsonValue& element) {
  Step step;
  step.metaspace.emplace(element);
  Step split;
  split.regex.emplace(Regex::literal(step.metaspace->replacement));
  split.behaviour = Behaviour::kMergedWithNext;
  const bool splits = step.metaspace->split;
  steps_.push_back(std::move(step));
  if (splits) steps_.push_back(std::move(split));
}

std::optional<SplitPattern> PreTokenizer::only_pattern() const {
  return steps_.size() == 1 ? steps_[0].pattern : std::nullopt;
}

std::vector<PreTokenizer::Part> PreTokenizer::parts(const Step& step, std::string_view text) {
  std::vector<Part> result;
  size_t at = 0;
  if (step.pattern) {
    const char* const end = text.data() + text.size();
    for (const char* p = text.data(); p < end;) {
      p = piece_end(*step.pattern, p, end);
      const auto next = static_cast<size_t>(p - text.data());
      result.push_back({at, next, true});
      at = next;
    }
  } else if (step.matches != nullptr) {
    while (at < text.size()) {
      const CodePoint point = code_point_at(text, at);
      const size_t next = at + static_cast<size_t>(point.bytes);
      const bool match = step.matches(point.value);
      if (!match && !result.empty() && !result.back().match) {
        result.back().end = next;
      } else {
        result.push_back({at, next, match});
      }
      at = next;
    }
  } else {
    for (const Regex::Match& match : step.regex->find_all(text)) {
      if (at != match.begin) result.push_back({at, match.begin, false});
      result.push_back({match.begin, match.end, true});
      at = match.end;
    }
    if (at != text.size()) result.push_back({at, text.size(), false});
  }
  if (step.invert) {
    for (Part& part : result) part.match = !part.match;
  }
  return result;
}

std::vector<PreTokenizer::Part> PreTokenizer::combine(const Step& step, std::vector<Part> parts) {
  std::vector<Part> result;
  bool before = false;  // whether the part before was a match
  switch (step.behaviour) {
    case Behaviour::kIsolated:
      return parts;
    case Behaviour::kRemoved:
      std::erase_if(parts, [](const Part& part) { return part.match; });
      return parts;
    case Behaviour::kContiguous:
      for (const Part& part : parts) {
        if (part.match == before && !result.empty()) {
          result.back().end = part.end;
        } else {
          result.push_back(part);
        }
        before = part.match;
      }
      return result;
    case Behaviour::kMergedWithPrevious:
      for (const Part& part : parts) {
        if (part.match && !before && !result.empty()) {
          result.back().end = part.end;
        } else {
          result.push_back(part);
        }
        before = part.match;
      }
      return result;
    case Behaviour::kMergedWithNext:
      break;
  }
  for (const auto& part : std::views::reverse(parts)) {
    if (part.match && !before && !result.empty()) {
      result.back().begin = part.begin;
    } else {
      result.push_back(part);
    }
    before = part.match;
  }
  std::ranges::reverse(result);
  return result;
}

std::vector<std::string_view> PreTokenizer::split(std::string_view text, bool start,
                                                  std::list<std::string>& store) const {
  std::vector<std::string_view> pieces;
  if (!text.empty()) pieces.push_back(text);
  for (const Step& step : steps_) {
    std::vector<std::string_view> next;
    for (std::string_view piece : pieces) {
      if (step.metaspace) {
        // A piece that is not at the start of the text has no other before it where white space was left out.
        const bool first = start && next.empty() && piece.data() == text.data();
        next.push_back(store.emplace_back(step.metaspace->encoded(piece, first)));
        continue;
      }
      if (step.prefix_space) {
        if (piece[0] != ' ') piece = store.emplace_back(" ").append(piece);
        next.push_back(piece);
        continue;
      }
      for (const Part& part : combine(step, parts(step, piece))) {
        if (part.end > part.begin) next.push_back(piece.substr(part.begin, part.end - part.begin));
      }
    }
    pieces = std::move(next);
  }
  return pieces;
}

}  // namespace tsugi
