#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "core/data/file.h"
#include "core/downstream/multiple_choice.h"
#include "core/objective/causal_lm.h"
#include "core/train/memory_plan.h"
#include "launch/commands/commands.h"
#include "launch/instruction_data.h"
#include "launch/model_folder.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr int64_t kQuestionRows = 16;  // endings that are scored together

struct EvaluateOptions {
  std::string checkpoint;
  std::string tokens;
  std::string questions;
  std::string instructions;
  InstructionArguments reading;
  int64_t sequence = 0;
  int64_t limit = 0;
  std::string logits;
  int threads = 0;
  bool json = false;
};

/// Bytes per token where the tokenizer is one id per byte; null where it is not known.
double bits_per_byte(const std::string& folder, double loss) {
  if (open_tokenizer(folder, "bits per byte")->vocabulary() != 256) return -1.0;
  return loss / std::log(2.0);
}

/// Answers multiple-choice questions.
int evaluate_questions(const EvaluateOptions& options) {
  const std::vector<MultipleChoiceQuestion> questions = read_multiple_choice_jsonl(options.questions);
  const ModelFolder opened = open_model(options.checkpoint, options.threads);
  opened.require_language_model();
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

/// Writes the logits of validation batches as they come: f32 [tokens, vocabulary].
class LogitsFile {
 public:
  LogitsFile(const std::string& path, const ModelFolder& opened) : file_(path), opened_(opened) {}

  void add(const Batch& batch) {
    const Context context = opened_.context();
    Tape tape(context, false);
    const Tensor hidden = opened_.model->hidden(tape, batch.tokens, {}).value;
    const int64_t rows = hidden.shape().rows();
    const Tensor logits = opened_.model->logits(context, hidden.reshape({rows, hidden.shape()[2]}));
    for (int64_t row = 0; row < rows; ++row) {
      if (batch.targets.data<int32_t>()[row] == kIgnoreIndex) continue;
      const float* values = logits.data<float>() + row * logits.shape()[1];
      file_.write(std::as_bytes(std::span(values, static_cast<size_t>(opened_.description.model.vocabulary()))));
    }
  }
  void commit() { file_.commit(); }

 private:
  DurableFile file_;
  const ModelFolder& opened_;
};

/// The loss of the objective's whole validation data, or of its first rows.
LossSum evaluate_objective(const EvaluateOptions& options, ModelFolder& opened, const Objective& objective) {
  const int64_t rows = std::max<int64_t>(1, 1024 / objective.sequence());
  RunConfig config;
  config.mutable_batch()->set_micro_batch(static_cast<int32_t>(rows));
  StaticArena arena(plan_evaluation_arena(Device{}, *opened.model, objective, config));
  LossSum total;
  std::optional<LogitsFile> logits;
  if (!options.logits.empty()) logits.emplace(options.logits, opened);
  for (int64_t index = 0; index < objective.validation_batches(rows, options.limit); ++index) {
    arena.restart();
    Tape tape(Context(Device{}, *opened.pool, arena), false);
    const Batch batch = objective.validation_batch(index, rows, options.limit);
    const LossSum loss = objective.evaluate(tape, *opened.model, batch).loss;
    if (logits) logits->add(batch);
    total.sum += loss.sum;
    total.count += loss.count;
  }
  if (logits) logits->commit();
  return total;
}

void check_sequence(const EvaluateOptions& options, const ModelConfig& model) {
  if (options.sequence <= model.context()) return;
  throw Error(ExitCode::kUsage, "--sequence " + std::to_string(options.sequence) +
                                    " is longer than the model's context of " + std::to_string(model.context()));
}

int evaluate_tokens(const EvaluateOptions& options) {
  ModelFolder opened = open_model(options.checkpoint, options.threads);
  opened.require_language_model();
  check_sequence(options, opened.description.model);
  const int64_t vocabulary = opened.description.model.vocabulary();
  const int64_t sequence = options.sequence > 0 ? options.sequence : opened.description.model.context();
  const TokenFile file = TokenFile::open(options.tokens);
  if (file.tokens() <= sequence) {
    throw Error(ExitCode::kData, options.tokens + " has " + std::to_string(file.tokens()) +
                                     " tokens: too few for one sequence of " + std::to_string(sequence));
  }
  const CausalLm objective(file, file, vocabulary, sequence, 0);
  const LossSum total = evaluate_objective(options, opened, objective);
  const double loss = total.sum / static_cast<double>(total.count);
  const bool bytes = vocabulary == 256 && bits_per_byte(opened.path, loss) >= 0.0;
  if (options.json) {
    nlohmann::ordered_json json;
    json["loss"] = loss;
    json["perplexity"] = std::exp(loss);
    json["bits_per_byte"] = bytes ? nlohmann::ordered_json(loss / std::log(2.0)) : nlohmann::ordered_json();
    json["tokens"] = total.count;
    std::cout << json.dump() << std::endl;
  } else {
    std::cout << "loss " << loss << " nats per token, perplexity " << std::exp(loss);
    if (bytes) std::cout << ", " << loss / std::log(2.0) << " bits per byte";
    std::cout << ", over " << total.count << " tokens of " << options.tokens << std::endl;
  }
  return 0;
}

/// The loss of responses alone.
int evaluate_instructions(const EvaluateOptions& options) {
  ModelFolder opened = open_model(options.checkpoint, options.threads);
  const InstructionTask task = read_instruction_task(
      {.train = {}, .validation = {options.instructions}, .sequence = options.sequence}, options.reading, opened);
  const LossSum total = evaluate_objective(options, opened, *task.objective);
  const double loss = total.sum / static_cast<double>(total.count);
  if (options.json) {
    nlohmann::ordered_json json;
    json["loss"] = loss;
    json["perplexity"] = std::exp(loss);
    json["tokens"] = total.count;
    json["examples"] = task.validation.examples;
    json["cut"] = task.validation.cut;
    json["too_long"] = task.validation.too_long;
    json["without_response"] = task.validation.empty;
    std::cout << json.dump() << std::endl;
  } else {
    std::cout << "loss " << loss << " nats per token of the responses, perplexity " << std::exp(loss) << "; "
              << describe(task.validation) << std::endl;
  }
  return 0;
}

}  // namespace

void add_evaluate(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<EvaluateOptions>();
  CLI::App* command = app.add_subcommand(
      "evaluate", "Loss and perplexity of a checkpoint on a token file, or accuracy on multiple-choice questions");
  command->add_option("--checkpoint", options->checkpoint, "checkpoint folder, or run directory (newest)")->required();
  CLI::Option_group* what = command->add_option_group("data", "What to evaluate on");
  what->add_option("--tokens", options->tokens, "token file (.bin): loss and perplexity");
  CLI::Option* questions =
      what->add_option("--multiple-choice", options->questions,
                       "JSONL of questions as in HellaSwag (ctx, endings, label): accuracy of the likeliest ending");
  what->add_option("--instructions", options->instructions,
                   "JSONL of prompts and responses, or messages: loss and perplexity of the responses alone");
  what->require_option(1);
  add_instruction_options(*command, options->reading);
  command->add_option("--sequence", options->sequence, "tokens per sequence; 0: the model's context")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_option("--sequences", options->limit, "how many sequences (examples) from the start of the file; 0: all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_option("--logits", options->logits, "also write the logits of every scored token here: f32, row by row")
      ->excludes(questions);
  command->add_option("--threads", options->threads, "0: all CPUs")->capture_default_str()->check(CLI::Range(0, 4096));
  command->add_flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command->callback([options, &exit_code] {
    exit_code = !options->questions.empty()      ? evaluate_questions(*options)
                : !options->instructions.empty() ? evaluate_instructions(*options)
                                                 : evaluate_tokens(*options);
  });
}

}  // namespace tsugi
