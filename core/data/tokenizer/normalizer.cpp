#include "core/data/tokenizer/normalizer.h"

#include <glog/logging.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

#include "core/data/tokenizer/unicode_categories.h"
#include "core/data/utf8.h"

namespace tsugi {
namespace {

// Replacements may make text longer; a chain of them could make it grow without bound.
constexpr size_t kMaxGrowth = 64;
constexpr size_t kMaxGrownBytes = size_t{1} << 20;

[[noreturn]] void refuse_growth() {
  throw Error(ExitCode::kData,
              "the normalizer's replacements make the text more than " + std::to_string(kMaxGrowth) + " times as long");
}

/// Without white space at its start, and at its end.
std::string stripped(std::string_view text, bool left, bool right) {
  const auto is_space = [&](size_t at) { return (character_classes()[code_point_at(text, at).value] & kSpace) != 0; };
  while (left && !text.empty() && is_space(0)) text.remove_prefix(static_cast<size_t>(code_point_at(text, 0).bytes));
  while (right && !text.empty()) {
    size_t last = text.size() - 1;
    while ((static_cast<uint8_t>(text[last]) & 0xC0) == 0x80) --last;
    if (!is_space(last)) break;
    text.remove_suffix(text.size() - last);
  }
  return std::string(text);
}

/// Throws Error(kData) when the result would be longer than `limit`.
std::string replace(const Regex& pattern, const std::string& content, std::string_view text, size_t limit) {
  std::string result;
  size_t at = 0;
  for (const Regex::Match& match : pattern.find_all(text)) {
    result += text.substr(at, match.begin - at);
    result += content;
    at = match.end;
    if (result.size() > limit) refuse_growth();
  }
  return result += text.substr(at);
}

constexpr std::pair<char32_t, char32_t> kLaterMarks[] = {
#include "core/data/tokenizer/later_marks.inc"
};

bool is_later_mark(char32_t c) {
  const auto* const found = std::ranges::lower_bound(kLaterMarks, c, {}, &std::pair<char32_t, char32_t>::second);
  return found != std::end(kLaterMarks) && found->first <= c;
}

/// Appends what utf8proc makes of the text: composed, or decomposed.
void append_form(std::string_view text, utf8proc_option_t form, std::string& result) {
  if (text.empty()) return;
  utf8proc_uint8_t* converted = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &converted, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | form));
  CHECK_GE(size, 0) << utf8proc_errmsg(size);
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(converted, &std::free);
  result.append(reinterpret_cast<const char*>(converted), static_cast<size_t>(size));
}

/// In parts between later marks, which stay as they are.
std::string form_of_parts(std::string_view text, utf8proc_option_t form) {
  std::string result;
  result.reserve(text.size());
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    const auto next = at + static_cast<size_t>(point.bytes);
    if (point.bytes > 1 && is_later_mark(point.value)) {
      append_form(text.substr(begin, at - begin), form, result);
      result += text.substr(at, next - at);
      begin = next;
    }
    at = next;
  }
  append_form(text.substr(begin), form, result);
  return result;
}

}  // namespace

std::string nfc(std::string_view text) {
  // Below U+0300 nothing composes and nothing decomposes to something that does not compose again.
  if (std::ranges::all_of(text, [](char c) { return static_cast<uint8_t>(c) < 0xCC; })) return std::string(text);
  return form_of_parts(text, UTF8PROC_COMPOSE);
}

std::string nfd(std::string_view text) { return form_of_parts(text, UTF8PROC_DECOMPOSE); }

Regex read_pattern(const JsonValue& pattern) {
  pattern.require_only({"String", "Regex"});
  if (pattern.size() != 1) throw pattern.error("must be {\"String\": …} or {\"Regex\": …}");
  const JsonValue text = pattern.members()[0].second;
  try {
    return pattern.has("Regex") ? Regex(text.as_string()) : Regex::literal(text.as_string());
  } catch (const Error& error) {
    throw text.error(error.what());
  }
}

Normalizer::Normalizer(const JsonValue& element) {
  if (!element.is_null()) read(element);
}

void Normalizer::read(const JsonValue& element) {
  const std::string type = element.require_string("type");
  Step step;
  if (type == "Sequence") {
    element.require_only({"type", "normalizers"});
    for (const JsonValue& one : element.require_array("normalizers").elements()) read(one);
    return;
  }
  if (type == "NFC") {
    element.require_only({"type"});
  } else if (type == "Replace") {
    element.require_only({"type", "pattern", "content"});
    step.kind = Step::Kind::kReplace;
    step.pattern.emplace(read_pattern(element.require_object("pattern")));
    step.content = element.require_string("content");
  } else if (type == "BertNormalizer") {
    element.require_only({"type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase"});
    step.kind = Step::Kind::kBert;
    step.bert.clean_text = element.require_bool("clean_text");
    step.bert.handle_chinese_chars = element.require_bool("handle_chinese_chars");
    if (element.has("strip_accents")) step.bert.strip_accents = element.require_bool("strip_accents");
    step.bert.lowercase = element.require_bool("lowercase");
  } else if (type == "Prepend") {
    element.require_only({"type", "prepend"});
    step.kind = Step::Kind::kPrepend;
    step.content = element.require_string("prepend");
  } else if (type == "Strip") {
    element.require_only({"type", "strip_left", "strip_right"});
    step.kind = Step::Kind::kStrip;
    step.strip_left = element.require_bool("strip_left");
    step.strip_right = element.require_bool("strip_right");
  } else if (type == "Precompiled") {
    element.require_only({"type", "precompiled_charsmap"});
    step.kind = Step::Kind::kMap;
    const JsonValue map = element.require("precompiled_charsmap");
    try {
      step.map.emplace(map.as_string());
    } catch (const Error& error) {
      throw map.is_string() ? map.error(error.what()) : error;
    }
  } else {
    throw element.require("type").error(
        "\"" + type.substr(0, 80) + "\" is not supported",
        "tsugi reads NFC, Replace, Prepend, BertNormalizer, Precompiled, Strip and Sequence");
  }
  steps_.push_back(std::move(step));
}

std::string Normalizer::apply(std::string_view text) const {
  const size_t limit = kMaxGrownBytes + kMaxGrowth * text.size();
  std::string result(text);
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Step::Kind::kNfc:
        result = nfc(result);
        break;
      case Step::Kind::kReplace:
        result = replace(*step.pattern, step.content, result, limit);
        break;
      case Step::Kind::kBert:
        result = step.bert.apply(result);
        break;
      case Step::Kind::kMap:
        result = step.map->apply(result);
        if (result.size() > limit) refuse_growth();
        break;
      case Step::Kind::kStrip:
        result = stripped(result, step.strip_left, step.strip_right);
        break;
      case Step::Kind::kPrepend:
        if (!result.empty()) result.insert(0, step.content);
        break;
    }
  }
  return result;
}

}  // namespace tsugi
