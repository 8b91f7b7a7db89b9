#include "launch/instruction_data.h"

#include <algorithm>

#include "core/config/families.h"
#include "launch/mask_token.h"
#include "launch/pair_data.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

InstructionOptions make_options(const InstructionArguments& arguments, const Tokenizer& tokenizer, int64_t sequence) {
  InstructionOptions options;
  options.prompt_field = arguments.prompt_field;
  options.response_field = arguments.response_field;
  options.prompt_template = arguments.prompt_template;
  options.chat = arguments.chat == "chatml"   ? ChatTemplate::chatml()
                 : arguments.chat == "llama3" ? ChatTemplate::llama3()
                                              : ChatTemplate::of(tokenizer);
  options.end_of_text = tokenizer.end_of_text();
  options.too_long = arguments.too_long == "drop"     ? InstructionOptions::TooLong::kDrop
                     : arguments.too_long == "refuse" ? InstructionOptions::TooLong::kRefuse
                                                      : InstructionOptions::TooLong::kCut;
  options.max_tokens = sequence + 1;
  return options;
}

std::vector<ScoredTokens> read(const std::vector<std::string>& inputs, const Tokenizer& tokenizer,
                               const InstructionOptions& options, int64_t vocabulary, InstructionCounts& counts) {
  if (inputs.empty()) return {};
  Instructions data = read_instructions(inputs, tokenizer, options);
  for (const ScoredTokens& example : data.examples) {
    const int32_t largest = *std::ranges::max_element(example.ids);
    if (largest < vocabulary) continue;
    throw Error(ExitCode::kData,
                "tokenizer.json gives id " + std::to_string(largest) + ", but the model has a vocabulary of " +
                    std::to_string(vocabulary),
                "`tsugi import --vocabulary N` makes a model with more tokens");
  }
  counts.cut = data.cut;
  counts.too_long = data.too_long;
  counts.empty = data.empty;
  return std::move(data.examples);
}

void count(const std::vector<ScoredTokens>& examples, InstructionCounts& counts) {
  counts.examples = static_cast<int64_t>(examples.size());
  for (const ScoredTokens& example : examples) {
    counts.scored += std::count(example.scored.begin() + 1, example.scored.end(), 1);
  }
}

/// Prompts for an encoder, responses for a decoder.
InstructionTask read_pair_task(const InstructionReading& reading, const InstructionArguments& arguments,
                               const ModelFolder& opened, const Tokenizer& tokenizer) {
  const ModelConfig& model = opened.description.model;
  const int64_t most = reading.sequence > 0 ? reading.sequence : model.context();
  InstructionOptions options = make_options(arguments, tokenizer, most);
  options.end_of_text = require_end_token(said_token(opened.description, "eos_token_id"), &tokenizer,
                                          model.vocabulary(), opened.path + ": eos_token_id");
  const auto read_all = [&](const std::vector<std::string>& inputs, InstructionCounts& counts) {
    if (inputs.empty()) return std::vector<ScoredTokens>();
    Instructions data = read_whole_instructions(inputs, tokenizer, options);
    counts.empty = data.empty;
    return std::move(data.examples);
  };
  InstructionTask task;
  std::vector<ScoredTokens> train = read_all(reading.train, task.train);
  std::vector<ScoredTokens> validation = read_all(reading.validation, task.validation);
  if (reading.validation.empty()) validation = hold_out(train, reading.validation_fraction, reading.seed);
  PairShape shape{most, most, true};
  const auto pairs = [&](const std::vector<ScoredTokens>& examples, const std::vector<std::string>& inputs,
                         InstructionCounts& counts) {
    return pairs_of(examples, options, model.vocabulary(), shape, inputs.empty() ? "instructions" : inputs.front(),
                    counts);
  };
  std::vector<TokenPair> train_pairs = pairs(train, reading.train, task.train);
  std::vector<TokenPair> validation_pairs = pairs(validation, reading.validation, task.validation);
  PairShape longest{1, 1, true};
  for (const auto* all : {&train_pairs, &validation_pairs}) {
    for (const TokenPair& pair : *all) {
      longest.inputs = std::max(longest.inputs, static_cast<int64_t>(pair.input.size()));
      longest.targets = std::max(longest.targets, static_cast<int64_t>(pair.target.size()));
    }
  }
  shape.inputs = std::min(rounded_sequence(longest.inputs), most);
  shape.targets = std::min(rounded_sequence(longest.targets), most);
  task.rows = static_cast<int64_t>(train_pairs.size());
  task.objective = std::make_unique<SequenceToSequenceLm>(std::move(train_pairs), std::move(validation_pairs), shape,
                                                          model.decoder_start_token(), reading.seed);
  return task;
}

}  // namespace

std::vector<Option> add_instruction_options(Command command, InstructionArguments& arguments) {
  std::vector<Option> options{
      command.option("--prompt-field", arguments.prompt_field, "instructions: member with the prompt").show_default(),
      command.option("--response-field", arguments.response_field,
                     "instructions: member with the response; default: response or completion"),
      command
          .option("--prompt-template", arguments.prompt_template,
                  "instructions: what comes before a response, with {prompt} where the prompt goes")
          .show_default(),
      command
          .option("--chat-template", arguments.chat,
                  "instructions: how messages are written; auto: as the tokenizer has the tokens, else chatml as text")
          .show_default()
          .one_of({"auto", "chatml", "llama3"}),
      command
          .option("--too-long", arguments.too_long,
                  "instructions: examples that do not fit lose their end, are left out, or are an error")
          .show_default()
          .one_of({"cut", "drop", "refuse"})};
  return options;
}

InstructionTask read_instruction_task(const InstructionReading& reading, const InstructionArguments& arguments,
                                      const ModelFolder& opened) {
  opened.require_writing_model("fine-tuning on instructions");
  const ModelConfig& model = opened.description.model;
  if (reading.sequence > model.context()) {
    throw Error(ExitCode::kUsage, "--sequence " + std::to_string(reading.sequence) +
                                      " is longer than the model's context of " + std::to_string(model.context()));
  }
  if (reading.packed && model.position() == ModelConfig::LEARNED) {
    throw Error(ExitCode::kUsage,
                opened.path + " has learned positions, which would count on through the examples of a packed row",
                "leave --packed out: one example per row");
  }
  if (reading.packed && has_decoder(model)) {
    throw Error(ExitCode::kUsage, opened.path + " has an encoder and a decoder, for which packed rows are not built",
                "leave --packed out: one example per row");
  }
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(opened.path, "fine-tuning on instructions");
  if (has_decoder(model)) return read_pair_task(reading, arguments, opened, *tokenizer);
  int64_t sequence = reading.sequence > 0 ? reading.sequence : model.context();
  const InstructionOptions options = make_options(arguments, *tokenizer, sequence);
  InstructionTask task;
  std::vector<ScoredTokens> train = read(reading.train, *tokenizer, options, model.vocabulary(), task.train);
  std::vector<ScoredTokens> validation =
      read(reading.validation, *tokenizer, options, model.vocabulary(), task.validation);
  if (reading.validation.empty()) validation = hold_out(train, reading.validation_fraction, reading.seed);
  count(train, task.train);
  count(validation, task.validation);
  if (!reading.packed && reading.sequence == 0) {
    int64_t longest = 1;
    for (const auto* examples : {&train, &validation}) {
      for (const ScoredTokens& one : *examples) longest = std::max(longest, static_cast<int64_t>(one.ids.size()) - 1);
    }
    sequence = std::min(rounded_sequence(longest), sequence);
  }
  auto objective = std::make_unique<InstructionTuning>(std::move(train), std::move(validation), sequence,
                                                       reading.packed, reading.seed);
  task.rows = objective->train().rows();
  task.objective = std::move(objective);
  return task;
}

std::string describe(const InstructionCounts& counts) {
  return std::to_string(counts.examples) + " examples with " + std::to_string(counts.scored) + " tokens to learn; " +
         std::to_string(counts.cut) + " of them cut, left out " + std::to_string(counts.too_long) + " too long and " +
         std::to_string(counts.empty) + " without a response";
}

}  // namespace tsugi
