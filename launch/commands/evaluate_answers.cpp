#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/data/file.h"
#include "core/downstream/baselines.h"
#include "core/downstream/classify.h"
#include "core/downstream/multiple_choice.h"
#include "launch/commands/evaluate.h"
#include "launch/model_folder.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr int64_t kQuestionRows = 16;  // endings or texts that are scored together

}  // namespace

int evaluate_labelled(const EvaluateOptions& options) {
  const ModelFolder opened = open_model(options.checkpoint, options.threads, options.computing);
  std::vector<std::string> labels = opened.description.labels;
  if (labels.empty()) {
    throw Error(ExitCode::kData, opened.path + " holds a language model, and --labelled needs a classifier",
                "make one with tsugi finetune --task classification");
  }
  const std::vector<LabelledText> examples = read_labelled_jsonl(options.labelled, labels, false);
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(opened.path, "--labelled");
  std::vector<std::vector<int32_t>> texts;
  for (const LabelledText& example : examples) texts.push_back(tokenizer->encode(example.text));
  ParameterStore heads;
  const ClassifierHead head(heads, opened.description.model, static_cast<int64_t>(labels.size()));
  heads.end_unit();
  load_store(heads, opened, opened.store->compute_type());
  const std::vector<std::vector<float>> scores =
      class_scores(opened.context(), *opened.model, head, texts, kQuestionRows);

  std::vector<int> predicted;
  std::string lines;
  for (const std::vector<float>& row : scores) {
    predicted.push_back(static_cast<int>(std::ranges::max_element(row) - row.begin()));
    double total = 0.0;
    const double best = row[static_cast<size_t>(predicted.back())];
    for (const float score : row) total += std::exp(static_cast<double>(score) - best);
    nlohmann::ordered_json line;
    line["label"] = labels[static_cast<size_t>(predicted.back())];
    line["probability"] = 1.0 / total;
    line["expected"] = labels[static_cast<size_t>(examples[predicted.size() - 1].label)];
    lines += line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }
  if (!options.predictions.empty()) write_file_durably(options.predictions, lines);
  const double share = accuracy(predicted, examples);
  if (options.json) {
    nlohmann::ordered_json json;
    json["accuracy"] = share;
    json["texts"] = examples.size();
    json["labels"] = labels.size();
    std::cout << json.dump() << std::endl;
  } else {
    std::cout << "accuracy " << share << " on " << examples.size() << " texts of " << options.labelled << std::endl;
  }
  return 0;
}

int evaluate_questions(const EvaluateOptions& options) {
  const std::vector<MultipleChoiceQuestion> questions = read_multiple_choice_jsonl(options.questions);
  const ModelFolder opened = open_model(options.checkpoint, options.threads, options.computing);
  opened.require_causal_model("--multiple-choice");
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(opened.path, "--multiple-choice");
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  const MultipleChoiceScore score =
      ask_questions(*alone, opened.context(), *opened.model, *tokenizer, questions, kQuestionRows);
  if (options.json) {
    nlohmann::ordered_json json;
    json["accuracy"] = score.accuracy;
    json["accuracy_per_token"] = score.accuracy_per_token;
    json["accuracy_per_byte"] = score.accuracy_per_byte;
    json["chance"] = score.chance;
    json["questions"] = questions.size();
    std::cout << json.dump() << std::endl;
  } else {
    std::cout << "accuracy " << score.accuracy << " by log-probability, " << score.accuracy_per_token << " per token, "
              << score.accuracy_per_byte << " per byte (guessing " << score.chance << "), over " << questions.size()
              << " questions of " << options.questions << std::endl;
  }
  return 0;
}

}  // namespace tsugi
