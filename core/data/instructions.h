// Supervised fine-tuning data: prompts and responses, or conversations, with a mark on the tokens that are learnt.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/data/batch.h"
#include "core/data/tokenizer/tokenizer.h"

namespace tsugi {

/// One example: ids, and which of them are to be predicted.
struct ScoredTokens {
  std::vector<int32_t> ids;
  std::vector<uint8_t> scored;  ///< as many; 1: the loss is on predicting this token
};

struct InstructionOptions {
  // Members of the object on a line. With `messages` the line is a conversation, else a prompt with its response.
  std::string prompt_field = "prompt";
  std::string response_field = "response";
  std::string messages_field = "messages";
  /// Follows every response, and is learnt; of conversations too, at their end.
  std::optional<int32_t> end_of_text;
  /// Longer examples lose what is behind; those of which nothing is left to learn are left out.
  int64_t max_tokens = 1024;
  int64_t max_line_bytes = int64_t{1} << 24;
};

struct Instructions {
  std::vector<ScoredTokens> examples;
  int64_t truncated = 0;  ///< of them
  int64_t dropped = 0;    ///< left out: nothing to learn was left, or the response is empty
  uint64_t fingerprint = 0;
};

/// Reads JSON objects, one per line, from files, patterns and folders as `tsugi prepare` does (also .gz and .zst).
///
/// {"prompt": P, "response": R}: the tokens of P, then those of R, which are learnt. The two are encoded apart, so that
/// no token lies across; P is encoded with what the tokenizer's template puts before a text.
/// {"messages": [{"role": "system" | "user" | "assistant", "content": C}, …]}: every message as
/// "<|im_start|>ROLE\nC<|im_end|>\n" (ChatML); of the assistant's, C and <|im_end|> are learnt.
/// What special tokens P, R and C spell is ordinary text.
/// Throws Error(kData) naming file, line, field and reason, or when there is no example.
Instructions read_instructions(const std::vector<std::string>& inputs, const Tokenizer& tokenizer,
                               const InstructionOptions& options);

/// A batch of `rows` rows of `sequence` tokens: inputs, and as targets the tokens one further where these are scored,
/// else kIgnoreIndex. An example has at most `sequence` + 1 tokens (what is behind is cut off); the rest of its row, and
/// rows behind `examples`, are padding (padding_batch()).
Batch fill_instruction_batch(std::span<const ScoredTokens* const> examples, int64_t rows, int64_t sequence);

}  // namespace tsugi
