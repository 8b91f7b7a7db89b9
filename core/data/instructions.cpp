#include "core/data/instructions.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>

#include "core/data/hash.h"
#include "core/data/json.h"
#include "core/data/prepare/blocks.h"
#include "core/data/prepare/documents.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr std::string_view kPromptMark = "{prompt}";

void add_to(Hash64& hash, const ScoredTokens& example) {
  const uint64_t length = example.ids.size();
  hash.update(std::as_bytes(std::span(&length, 1)));
  hash.update(std::as_bytes(std::span(example.ids)));
  hash.update(std::as_bytes(std::span(example.scored)));
}

/// The first token is predicted from nothing.
bool has_target(const ScoredTokens& example) {
  return !example.ids.empty() && std::find(example.scored.begin() + 1, example.scored.end(), 1) != example.scored.end();
}

class Builder {
 public:
  Builder(const Tokenizer& tokenizer, const InstructionOptions& options) : tokenizer_(tokenizer), options_(options) {
    const size_t mark = options.prompt_template.find(kPromptMark);
    if (mark == std::string::npos || options.prompt_template.find(kPromptMark, mark + 1) != std::string::npos) {
      throw Error(ExitCode::kUsage, "the prompt template \"" + options.prompt_template + "\" must have {prompt} once");
    }
    before_prompt_ = options.prompt_template.substr(0, mark);
    after_prompt_ = options.prompt_template.substr(mark + kPromptMark.size());
    turns_end_themselves_ = tokenizer.find_token(options.chat.end_of_turn).has_value();
  }

  ScoredTokens build(const JsonValue& line) {
    example_ = {};
    if (line.has(options_.messages_field)) {
      add_messages(line.require_array(options_.messages_field), true);
      end_conversation();
      return std::move(example_);
    }
    const JsonValue prompt = line.require(options_.prompt_field);
    const JsonValue response = line.require(response_field(line));
    if (prompt.is_array()) {
      add_messages(line.require_array(options_.prompt_field), false);
      add_messages(line.require_array(response_field(line)), true);
      end_conversation();
      return std::move(example_);
    }
    // In one piece, so that tokens lie across template and prompt as in the text that will be asked.
    add(prompt, before_prompt_ + prompt.as_string() + after_prompt_, kText, false, true);
    const std::string text = response.as_string();
    if (text.empty()) return {};
    add(response, text, kText, true);
    end_of_text();
    return std::move(example_);
  }

 private:
  enum Kind { kText, kMarks };

  std::string response_field(const JsonValue& line) const {
    if (!options_.response_field.empty()) return options_.response_field;
    return !line.has("response") && line.has("completion") ? "completion" : "response";
  }

  void add_messages(const JsonValue& messages, bool learn) {
    const ChatTemplate& chat = options_.chat;
    if (messages.size() == 0) throw messages.error("must not be empty");
    for (const JsonValue& message : messages.elements()) {
      const std::string role = message.require_string("role");
      if (role != "system" && role != "user" && role != "assistant") {
        throw message.require("role").error("\"" + role + "\" is not known; must be system, user or assistant");
      }
      const bool learnt = learn && role == "assistant";
      const JsonValue content = message.require("content");
      add(message, chat.before_role + role + chat.before_content, kMarks, false, example_.ids.empty());
      add(content, content.as_string(), kText, learnt);
      add(message, chat.end_of_turn, kMarks, learnt);
      add(message, chat.after_turn, kMarks, false);
    }
  }

  void end_conversation() {
    if (!turns_end_themselves_) end_of_text();
  }
  void end_of_text() {
    if (!options_.end_of_text) return;
    example_.ids.push_back(*options_.end_of_text);
    example_.scored.push_back(1);
  }

  void add(const JsonValue& where, const std::string& text, Kind kind, bool learnt, bool begins = false) {
    std::vector<int32_t> ids;
    try {
      ids = tokenizer_.encode(text, {.template_tokens = begins, .special_tokens = kind == kMarks});
    } catch (const Error& error) {
      throw where.error(error.what(), error.hint());
    }
    example_.ids.insert(example_.ids.end(), ids.begin(), ids.end());
    example_.scored.insert(example_.scored.end(), ids.size(), learnt ? 1 : 0);
  }

  const Tokenizer& tokenizer_;
  const InstructionOptions& options_;
  std::string before_prompt_;
  std::string after_prompt_;
  bool turns_end_themselves_ = false;
  ScoredTokens example_;
};

/// Keeps the example, or counts why not.
void keep(ScoredTokens example, const std::string& place, const InstructionOptions& options, Instructions& result) {
  using TooLong = InstructionOptions::TooLong;
  if (!has_target(example)) {
    ++result.empty;
    return;
  }
  const auto most = static_cast<size_t>(options.max_tokens);
  if (example.ids.size() > most) {
    if (options.too_long == TooLong::kRefuse) {
      throw Error(ExitCode::kData, place + ": the example has " + std::to_string(example.ids.size()) +
                                       " tokens, but at most " + std::to_string(most) + " fit");
    }
    example.ids.resize(most);
    example.scored.resize(most);
    if (options.too_long == TooLong::kDrop || !has_target(example)) {
      ++result.too_long;
      return;
    }
    ++result.cut;
  }
  result.examples.push_back(std::move(example));
}

}  // namespace

ChatTemplate ChatTemplate::chatml() { return {"<|im_start|>", "\n", "<|im_end|>", "\n"}; }

ChatTemplate ChatTemplate::llama3() { return {"<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>", ""}; }

ChatTemplate ChatTemplate::of(const Tokenizer& tokenizer) {
  const bool chatml_tokens = tokenizer.find_token("<|im_start|>").has_value();
  return !chatml_tokens && tokenizer.find_token("<|start_header_id|>") ? llama3() : chatml();
}

Instructions read_instructions(const std::vector<std::string>& inputs, const Tokenizer& tokenizer,
                               const InstructionOptions& options) {
  CHECK_GT(options.max_tokens, 1);
  Builder builder(tokenizer, options);
  const std::vector<InputFile> files = list_inputs(inputs, PrepareOptions::Format::kLines);
  BlockReader reader(files, {.separator = "", .max_document_bytes = options.max_line_bytes});
  Instructions result;
  TextBlock block;
  while (reader.next(block)) {
    for (const TextPiece& piece : block.pieces) {
      for_each_line(block, piece, files, options.max_line_bytes, [&](std::string_view line, const DocumentPiece& at) {
        const std::string place = place_of(files, at);
        keep(builder.build(parse_json(line, place)), place, options, result);
      });
    }
  }
  if (result.examples.empty()) {
    throw Error(ExitCode::kData, (inputs.empty() ? std::string("no input") : inputs.front()) +
                                     ": there is no example to learn from (" + std::to_string(result.empty) +
                                     " without a response and " + std::to_string(result.too_long) +
                                     " too long were left out)");
  }
  return result;
}

std::vector<ScoredTokens> hold_out(std::vector<ScoredTokens>& examples, double fraction, uint64_t seed) {
  CHECK(fraction >= 0.0 && fraction < 1.0) << fraction;
  std::vector<std::pair<uint64_t, size_t>> order;
  for (size_t i = 0; i < examples.size(); ++i) {
    Hash64 hash(seed);
    add_to(hash, examples[i]);
    order.emplace_back(hash.value(), i);
  }
  std::ranges::sort(order);
  auto wanted = static_cast<size_t>(std::ceil(fraction * static_cast<double>(examples.size())));
  while (wanted > 0 && wanted < order.size() && order[wanted].first == order[wanted - 1].first) ++wanted;
  // All examples are equal, or there is only one: none is held out.
  if (wanted == order.size()) wanted = 0;
  std::vector<uint8_t> out(examples.size());
  for (size_t k = 0; k < wanted; ++k) out[order[k].second] = 1;
  std::vector<ScoredTokens> held;
  std::vector<ScoredTokens> kept;
  for (size_t i = 0; i < examples.size(); ++i) (out[i] != 0 ? held : kept).push_back(std::move(examples[i]));
  examples = std::move(kept);
  return held;
}

uint64_t fingerprint_of(std::span<const ScoredTokens> examples) {
  Hash64 hash;
  for (const ScoredTokens& example : examples) add_to(hash, example);
  return hash.value();
}

void fill_examples(const Batch& batch, int64_t row, std::span<const ScoredTokens* const> examples) {
  const int64_t sequence = batch.tokens.shape()[1];
  CHECK(examples.size() <= 1 || batch.first_key.defined()) << "several examples in a row must be apart";
  int64_t place = 0;
  for (const ScoredTokens* example : examples) {
    const auto length = static_cast<int64_t>(example->ids.size()) - 1;
    CHECK(length > 0 && place + length <= sequence) << length << " at " << place << " of " << sequence;
    const int64_t begin = row * sequence + place;
    std::copy_n(example->ids.begin(), length, batch.tokens.data<int32_t>() + begin);
    for (int64_t t = 0; t < length; ++t) {
      const auto next = static_cast<size_t>(t) + 1;
      if (example->scored[next] != 0) batch.targets.data<int32_t>()[begin + t] = example->ids[next];
    }
    if (batch.first_key.defined()) {
      std::fill_n(batch.first_key.data<int32_t>() + begin, length, static_cast<int32_t>(place));
    }
    place += length;
  }
}

}  // namespace tsugi
