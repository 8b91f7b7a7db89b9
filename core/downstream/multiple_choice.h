// Multiple-choice questions, answered by which ending a language model finds the most likely (Brown et al., "Language
// models are few-shot learners" (2020), section 2.4).
#pragma once

#include <string>
#include <vector>

#include "core/data/tokenizer/tokenizer.h"
#include "core/downstream/scoring.h"

namespace tsugi {

struct MultipleChoiceQuestion {
  std::string context;
  std::vector<std::string> endings;
  int label = 0;  ///< the right one
};

/// Reads lines {"ctx": "…", "endings": ["…", …], "label": 2} (HellaSwag; Zellers et al. 2019; a label may be a string
/// of digits; other members are ignored; empty lines are skipped). At least two endings, none empty, and a context.
/// Throws Error(kData) "FILE:LINE: reason", also for a file without questions, and Error(kInputOutput).
std::vector<MultipleChoiceQuestion> read_multiple_choice_jsonl(const std::string& path);

/// Every ending of every question as a sequence: the tokens of the context, then those of a space and the ending.
std::vector<ScoredSequence> encode_questions(const Tokenizer& tokenizer,
                                             const std::vector<MultipleChoiceQuestion>& questions);

/// Fractions of right answers when an ending's score is …
struct MultipleChoiceScore {
  double accuracy = 0.0;            ///< … the log-probability of its tokens
  double accuracy_per_token = 0.0;  ///< … that divided by the number of its tokens
  double accuracy_per_byte = 0.0;   ///< … that divided by its bytes ("acc_norm" of lm-evaluation-harness)
  double chance = 0.0;              ///< expected of guessing
};

/// Encodes, scores and judges. Collective, as score_sequences().
MultipleChoiceScore ask_questions(Communicator& communicator, const Context& context, const Transformer& model,
                                  const Tokenizer& tokenizer, const std::vector<MultipleChoiceQuestion>& questions,
                                  int64_t rows);

/// `log_probabilities`: one for each of encode_questions(). The first of equal scores counts.
MultipleChoiceScore judge_choices(const std::vector<MultipleChoiceQuestion>& questions,
                                  const std::vector<ScoredSequence>& sequences,
                                  const std::vector<double>& log_probabilities);

}  // namespace tsugi
