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

/// How the messages of a conversation are written.
struct ChatTemplate {
  std::string before_role;
  std::string before_content;
  std::string end_of_turn;  ///< learnt behind what the assistant says
  std::string after_turn;

  /// "<|im_start|>ROLE\nCONTENT<|im_end|>\n" (Qwen and others).
  static ChatTemplate chatml();
  /// "<|start_header_id|>ROLE<|end_header_id|>\n\nCONTENT<|eot_id|>" (Llama 3).
  static ChatTemplate llama3();
  /// The one whose special tokens the tokenizer has; with neither ChatML, whose marks are then ordinary text.
  static ChatTemplate of(const Tokenizer& tokenizer);
};

struct InstructionOptions {
  /// Members of the object on a line. An empty response_field: "response" or "completion".
  std::string prompt_field = "prompt";
  std::string response_field;
  std::string messages_field = "messages";
  /// What comes before a response, the prompt in the place of "{prompt}". Not for conversations.
  std::string prompt_template = "{prompt}";
  ChatTemplate chat = ChatTemplate::chatml();
  /// Follows every response, and is learnt; of a conversation its end, where the tokenizer has no token for the end of
  /// a turn.
  std::optional<int32_t> end_of_text;
  enum class TooLong {
    kCut,     ///< lose what is behind; left out when nothing to learn stays
    kDrop,    ///< are left out
    kRefuse,  ///< are an Error(kData) naming file and line
  };
  /// Examples of more than max_tokens.
  TooLong too_long = TooLong::kCut;
  int64_t max_tokens = 1024;
  int64_t max_line_bytes = int64_t{1} << 24;
};

struct Instructions {
  std::vector<ScoredTokens> examples;  ///< each has a scored token behind its first
  int64_t cut = 0;                     ///< of them: they were too long
  int64_t too_long = 0;                ///< left out
  int64_t empty = 0;                   ///< left out: there is nothing to learn in the response
};

/// Reads JSON objects, one per line, from files, patterns and folders as `tsugi prepare` does (also .gz and .zst).
///
/// {"prompt": P, "response": R}: the tokens of P in its template, then those of R, which are learnt. The two are
/// encoded apart, so that no token lies across; P is encoded with what the tokenizer's template puts before a text.
/// {"messages": [{"role": "system" | "user" | "assistant", "content": C}, …]}: message after message in the chat
/// template; of the assistant's, C and the end of the turn are learnt.
/// {"prompt": [messages], "response": [messages]}: the same, and only those of the response are learnt.
/// What special tokens P, R and C spell is ordinary text.
/// Throws Error(kData) naming file, line, field and reason, or when there is no example; Error(kUsage) when the prompt
/// template does not have the prompt exactly once.
Instructions read_instructions(const std::vector<std::string>& inputs, const Tokenizer& tokenizer,
                               const InstructionOptions& options);

/// Takes `fraction` of the examples out, rounded up but not all: those whose tokens have the smallest hashes, so that
/// equal examples stay on one side. A pure function of the examples and the seed.
std::vector<ScoredTokens> hold_out(std::vector<ScoredTokens>& examples, double fraction, uint64_t seed);

/// A hash of ids and marks.
uint64_t fingerprint_of(std::span<const ScoredTokens> examples);

/// Row `row` of a batch of padding (padding_batch()): one example after another, of together at most T places, where an
/// example takes one less than it has tokens; as targets the tokens one further where these are scored.
/// Several examples need a batch whose documents are apart.
void fill_examples(const Batch& batch, int64_t row, std::span<const ScoredTokens* const> examples);

}  // namespace tsugi
