#include "core/data/instructions.h"

#include <glog/logging.h>

#include <algorithm>

#include "core/data/hash.h"
#include "core/data/json.h"
#include "core/data/prepare/blocks.h"
#include "core/data/prepare/documents.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

class Builder {
 public:
  Builder(const Tokenizer& tokenizer, const InstructionOptions& options) : tokenizer_(tokenizer), options_(options) {}

  ScoredTokens build(const JsonValue& line) {
    example_ = {};
    if (line.has(options_.messages_field)) {
      add_conversation(line.require_array(options_.messages_field));
    } else {
      const JsonValue prompt = line.require(options_.prompt_field);
      add(prompt, prompt.as_string(), {.template_tokens = true, .special_tokens = false}, false);
      const JsonValue response = line.require(options_.response_field);
      const std::string text = response.as_string();
      if (text.empty()) return {};
      add(response, text, {.template_tokens = false, .special_tokens = false}, true);
    }
    if (options_.end_of_text) {
      example_.ids.push_back(*options_.end_of_text);
      example_.scored.push_back(1);
    }
    return std::move(example_);
  }

 private:
  void add_conversation(const JsonValue& messages) {
    bool first = true;
    for (const JsonValue& message : messages.elements()) {
      const std::string role = message.require_string("role");
      if (role != "system" && role != "user" && role != "assistant") {
        throw message.require("role").error("\"" + role + "\" is not known; must be system, user or assistant");
      }
      const bool learnt = role == "assistant";
      const JsonValue content = message.require("content");
      add(message, "<|im_start|>" + role + "\n", {.template_tokens = first, .special_tokens = true}, false);
      add(content, content.as_string(), {.template_tokens = false, .special_tokens = false}, learnt);
      add(message, "<|im_end|>", {.template_tokens = false, .special_tokens = true}, learnt);
      add(message, "\n", {.template_tokens = false, .special_tokens = true}, false);
      first = false;
    }
    if (first) throw messages.error("must not be empty");
  }

  void add(const JsonValue& where, const std::string& text, const EncodeOptions& encode, bool learnt) {
    std::vector<int32_t> ids;
    try {
      ids = tokenizer_.encode(text, encode);
    } catch (const Error& error) {
      throw where.error(error.what(), error.hint());
    }
    example_.ids.insert(example_.ids.end(), ids.begin(), ids.end());
    example_.scored.insert(example_.scored.end(), ids.size(), learnt ? 1 : 0);
  }

  const Tokenizer& tokenizer_;
  const InstructionOptions& options_;
  ScoredTokens example_;
};

}  // namespace

Instructions read_instructions(const std::vector<std::string>& inputs, const Tokenizer& tokenizer,
                               const InstructionOptions& options) {
  CHECK_GT(options.max_tokens, 0);
  const std::vector<InputFile> files = list_inputs(inputs, PrepareOptions::Format::kLines);
  BlockReader reader(files, {.max_document_bytes = options.max_line_bytes});
  Builder builder(tokenizer, options);
  Instructions result;
  Hash64 hash;
  TextBlock block;
  while (reader.next(block)) {
    for_each_line(block, files, options.max_line_bytes, [&](std::string_view line, const std::string& place) {
      ScoredTokens example = builder.build(parse_json(line, place));
      hash.update(std::as_bytes(std::span(example.ids)));
      hash.update(std::as_bytes(std::span(example.scored)));
      const auto most = static_cast<size_t>(options.max_tokens);
      const bool longer = example.ids.size() > most;
      example.ids.resize(std::min(example.ids.size(), most));
      example.scored.resize(example.ids.size());
      // The first token is predicted from nothing.
      if (example.ids.empty() || std::find(example.scored.begin() + 1, example.scored.end(), 1) == example.scored.end()) {
        ++result.dropped;
        return;
      }
      result.truncated += longer ? 1 : 0;
      result.examples.push_back(std::move(example));
    });
  }
  if (result.examples.empty()) {
    throw Error(ExitCode::kData, (inputs.empty() ? std::string("no input") : inputs.front()) +
                                     ": there is no example to learn from (" + std::to_string(result.dropped) +
                                     " were left out)");
  }
  result.fingerprint = hash.value();
  return result;
}

Batch fill_instruction_batch(std::span<const ScoredTokens* const> examples, int64_t rows, int64_t sequence) {
  CHECK_LE(static_cast<int64_t>(examples.size()), rows);
  const Batch batch = padding_batch(rows, sequence, Documents::kJoined);
  for (size_t row = 0; row < examples.size(); ++row) {
    const ScoredTokens& example = *examples[row];
    const int64_t begin = static_cast<int64_t>(row) * sequence;
    const auto count = std::min(static_cast<int64_t>(example.ids.size()), sequence + 1);
    for (int64_t t = 0; t < count; ++t) {
      const auto i = static_cast<size_t>(t);
      if (t < sequence) batch.tokens.data<int32_t>()[begin + t] = example.ids[i];
      if (t > 0 && example.scored[i] != 0) batch.targets.data<int32_t>()[begin + t - 1] = example.ids[i];
    }
  }
  return batch;
}

}  // namespace tsugi
