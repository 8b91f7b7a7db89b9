#include "core/downstream/multiple_choice.h"

#include <glog/logging.h>

#include <algorithm>
#include <charconv>

#include "core/data/json_lines.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr int64_t kMostEndings = 1000;

int read_label(const JsonValue& label, int64_t endings) {
  int64_t value = -1;
  if (label.is_string()) {
    const std::string text = label.as_string();
    const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (fault != std::errc() || end != text.data() + text.size()) value = -1;
  } else {
    value = label.as_int();
  }
  if (value < 0 || value >= endings) {
    throw label.error("is not the index of one of the " + std::to_string(endings) + " endings");
  }
  return static_cast<int>(value);
}

/// Index of the largest, the first among equals.
int largest(const std::vector<double>& values) {
  return static_cast<int>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace

std::vector<MultipleChoiceQuestion> read_multiple_choice_jsonl(const std::string& path) {
  std::vector<MultipleChoiceQuestion> questions;
  for_each_json_line(path, [&](const JsonValue& line) {
    MultipleChoiceQuestion question;
    question.context = line.require_string("ctx");
    if (question.context.empty()) throw line.require("ctx").error("is empty");
    const JsonValue endings = line.require_array("endings");
    if (endings.size() < 2 || endings.size() > kMostEndings) {
      throw endings.error("has " + std::to_string(endings.size()) + " elements, not 2 to " +
                          std::to_string(kMostEndings));
    }
    for (const JsonValue& ending : endings.elements()) {
      question.endings.push_back(ending.as_string());
      if (question.endings.back().empty()) throw ending.error("is empty");
    }
    question.label = read_label(line.require("label"), endings.size());
    questions.push_back(std::move(question));
  });
  if (questions.empty()) {
    throw Error(ExitCode::kData, path + ": no questions",
                R"(write one {"ctx": "…", "endings": ["…", "…"], "label": 0} a line)");
  }
  return questions;
}

std::vector<ScoredSequence> encode_questions(const Tokenizer& tokenizer,
                                             const std::vector<MultipleChoiceQuestion>& questions) {
  std::vector<ScoredSequence> sequences;
  for (const MultipleChoiceQuestion& question : questions) {
    const std::vector<int32_t> context = tokenizer.encode(question.context);
    for (const std::string& ending : question.endings) {
      ScoredSequence sequence{context, static_cast<int64_t>(context.size())};
      const std::vector<int32_t> tokens =
          tokenizer.encode(' ' + ending, {.template_tokens = false, .special_tokens = false});
      sequence.tokens.insert(sequence.tokens.end(), tokens.begin(), tokens.end());
      sequences.push_back(std::move(sequence));
    }
  }
  return sequences;
}

MultipleChoiceScore judge_choices(const std::vector<MultipleChoiceQuestion>& questions,
                                  const std::vector<ScoredSequence>& sequences,
                                  const std::vector<double>& log_probabilities) {
  CHECK(!questions.empty());
  CHECK_EQ(sequences.size(), log_probabilities.size());
  MultipleChoiceScore score;
  size_t next = 0;
  for (const MultipleChoiceQuestion& question : questions) {
    std::vector<double> whole;
    std::vector<double> per_token;
    std::vector<double> per_byte;
    for (const std::string& ending : question.endings) {
      CHECK_LT(next, sequences.size());
      const ScoredSequence& sequence = sequences[next];
      whole.push_back(log_probabilities[next++]);
      per_token.push_back(whole.back() /
                          static_cast<double>(static_cast<int64_t>(sequence.tokens.size()) - sequence.begin));
      per_byte.push_back(whole.back() / static_cast<double>(ending.size()));
    }
    score.accuracy += largest(whole) == question.label;
    score.accuracy_per_token += largest(per_token) == question.label;
    score.accuracy_per_byte += largest(per_byte) == question.label;
    score.chance += 1.0 / static_cast<double>(question.endings.size());
  }
  CHECK_EQ(next, sequences.size());
  for (double* sum : {&score.accuracy, &score.accuracy_per_token, &score.accuracy_per_byte, &score.chance}) {
    *sum /= static_cast<double>(questions.size());
  }
  return score;
}

}  // namespace tsugi
