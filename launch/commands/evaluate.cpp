#include "launch/commands/evaluate.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "core/config/families.h"
#include "core/data/file.h"
#include "core/objective/causal_lm.h"
#include "core/objective/masked_lm.h"
#include "core/train/evaluation.h"
#include "launch/commands/commands.h"
#include "launch/instruction_data.h"
#include "launch/mask_token.h"
#include "launch/model_folder.h"
#include "launch/pair_data.h"
#include "launch/training_data.h"
#include "ops/base/error.h"
#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

/// The bytes of text that scored tokens stand for.
class ByteCount {
 public:
  /// Unknown where the folder has no tokenizer.
  explicit ByteCount(const std::string& folder) {
    if (!std::filesystem::exists(folder + "/tokenizer.json")) return;
    const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(folder, "bits per byte");
    std::string bytes;
    for (int32_t id = 0; id < tokenizer->vocabulary(); ++id) {
      bytes.clear();
      // The end of a document is no byte of it, though its loss counts.
      if (!tokenizer->is_special(id)) tokenizer->append_token(id, bytes);
      lengths_.push_back(static_cast<int64_t>(bytes.size()));
    }
  }

  void add(const Tensor& targets) {
    for (int64_t i = 0; i < targets.elements(); ++i) {
      const int32_t id = targets.data<int32_t>()[i];
      if (id == kIgnoreIndex) continue;
      if (static_cast<size_t>(id) < lengths_.size()) {
        bytes_ += lengths_[static_cast<size_t>(id)];
      } else {
        unknown_ = true;
      }
    }
  }

  /// From the sum of the losses in nats; nothing where bytes are not known.
  std::optional<double> bits_per_byte(double nats) const {
    if (unknown_ || bytes_ == 0) return std::nullopt;
    return nats / std::log(2.0) / static_cast<double>(bytes_);
  }

 private:
  std::vector<int64_t> lengths_;  // by id
  int64_t bytes_ = 0;
  bool unknown_ = false;
};

/// Writes the logits of validation batches as they come: f32 [tokens, vocabulary].
class LogitsFile {
 public:
  LogitsFile(const std::string& path, const ModelFolder& opened) : file_(path), opened_(opened) {}

  void add(const Batch& host) {
    const Context context = opened_.context();
    const Batch batch = on_device(context, host);
    Tape tape(context, false);
    ForwardOptions options;
    options.first_key = batch.first_key;
    options.end_key = batch.end_key;
    options.segments = batch.segments;
    Variable hidden = batch.decoder_tokens.defined() ? decoded_pairs(tape, *opened_.model, batch, {})
                                                     : opened_.model->hidden(tape, batch.tokens, options);
    if (batch.positions.defined()) hidden = select_rows(tape, hidden, batch.positions);
    const int64_t rows = hidden.value.shape().rows();
    const Tensor logits = on_host(context, opened_.model->logits(context, as_matrix(hidden.value)));
    for (int64_t row = 0; row < rows; ++row) {
      if (host.targets.data<int32_t>()[row] == kIgnoreIndex) continue;
      const float* values = logits.data<float>() + row * logits.shape()[1];
      file_.write(std::as_bytes(std::span(values, static_cast<size_t>(opened_.description.model.vocabulary()))));
    }
  }
  void commit() { file_.commit(); }

 private:
  DurableFile file_;
  const ModelFolder& opened_;
};

/// The loss of the objective's whole validation data, or of its first rows; `bytes` (or null) counts what is scored.
EvaluationSum evaluate_objective(const EvaluateOptions& options, const ModelFolder& opened, const Objective& objective,
                                 ByteCount* bytes) {
  std::optional<LogitsFile> logits;
  if (!options.logits.empty()) logits.emplace(options.logits, opened);
  const EvaluationSum total = evaluate_objective(opened.chosen.device(), *opened.pool, *opened.memory, *opened.model,
                                                 objective, options.limit, [&](const Batch& batch) {
                                                   if (logits) logits->add(batch);
                                                   if (bytes != nullptr) bytes->add(batch.targets);
                                                 });
  if (logits) logits->commit();
  return total;
}

double mean_of(const Average& score) { return score.sum / std::max(score.count, 1.0); }

void check_sequence(const EvaluateOptions& options, const ModelConfig& model) {
  if (options.sequence <= model.context()) return;
  throw Error(ExitCode::kUsage, "--sequence " + std::to_string(options.sequence) +
                                    " is longer than the model's context of " + std::to_string(model.context()));
}

/// How well hidden tokens were restored, and what else `objective` counts.
void print_restored(const EvaluateOptions& options, const Objective& objective, const EvaluationSum& total,
                    const char* unit) {
  const auto count = static_cast<double>(std::max<int64_t>(total.loss.count, 1));
  const double loss = total.loss.sum / count;
  const double share = static_cast<double>(total.correct) / count;
  if (options.json) {
    nlohmann::ordered_json json;
    json["loss"] = loss;
    json["perplexity"] = std::exp(loss);
    json["accuracy"] = share;
    json["tokens"] = total.loss.count;
    for (size_t i = 0; i < total.scores.size(); ++i) {
      json[objective.score_names()[i]] = mean_of(total.scores[i]);
      json["pairs"] = static_cast<int64_t>(total.scores[i].count);
    }
    std::cout << json.dump() << std::endl;
  } else {
    std::cout << "loss " << loss << " " << unit << ", accuracy " << share << ", over " << total.loss.count
              << " tokens of " << options.tokens << std::endl;
    for (size_t i = 0; i < total.scores.size(); ++i) {
      std::cout << objective.score_names()[i] << " " << mean_of(total.scores[i]) << ", over " << total.scores[i].count
                << " pairs of pieces" << std::endl;
    }
  }
}

/// What an encoder restores of pairs of pieces of text, and whether it knows which of them follow each other. `masked`
/// knows all but the tokens around pieces.
int evaluate_pieces(const EvaluateOptions& options, ModelFolder& opened, const TokenFile& file, int64_t sequence,
                    MaskedLanguageModel masked, const Tokenizer* tokenizer) {
  const int64_t vocabulary = opened.description.model.vocabulary();
  masked.set_short_share(options.short_share);
  masked.set_cls_token(said_token(opened.description, "cls_token_id"));
  masked.set_sep_token(said_token(opened.description, "sep_token_id"));
  resolve_tokens(masked, tokenizer, vocabulary);
  const NextSentence objective(file, file, sequence, 0, masking_of(masked, tokenizer, vocabulary),
                               pair_rule_of(masked, tokenizer, vocabulary));
  print_restored(options, objective, evaluate_objective(options, opened, objective, nullptr),
                 "nats per hidden token and pair");
  return 0;
}

/// What an encoder restores.
int evaluate_masked(const EvaluateOptions& options, ModelFolder& opened, const TokenFile& file, int64_t sequence) {
  std::unique_ptr<Tokenizer> tokenizer;
  if (std::filesystem::exists(opened.path + "/tokenizer.json")) tokenizer = open_tokenizer(opened.path, "--tokens");
  MaskedLanguageModel masked;
  masked.set_probability(options.mask_probability);
  masked.set_mask_share(options.mask_share);
  masked.set_random_share(options.random_share);
  masked.set_mask_token(checkpoint_mask_token(options.mask_token, opened.description, tokenizer.get()));
  masked.set_next_sentence(options.next_sentence);
  if (options.mask_share + options.random_share > 1.0) {
    throw Error(ExitCode::kUsage, "--mask-share and --random-share are more than 1 together");
  }
  if (options.next_sentence) return evaluate_pieces(options, opened, file, sequence, masked, tokenizer.get());
  LanguageData data;
  data.train.push_back({file, 1.0});
  data.validation = file;
  const MaskedLm objective(std::move(data), sequence, 0,
                           masking_of(masked, tokenizer.get(), opened.description.model.vocabulary()));
  print_restored(options, objective, evaluate_objective(options, opened, objective, nullptr), "nats per hidden token");
  return 0;
}

/// What an encoder with a decoder says of spans that were taken out.
int evaluate_spans(const EvaluateOptions& options, ModelFolder& opened, const TokenFile& file, int64_t sequence) {
  std::unique_ptr<Tokenizer> tokenizer;
  if (std::filesystem::exists(opened.path + "/tokenizer.json")) tokenizer = open_tokenizer(opened.path, "--tokens");
  RunConfig config;
  *config.mutable_model() = opened.description.model;
  config.mutable_batch()->set_sequence(static_cast<int32_t>(sequence));
  SpanCorruption& spans = *config.mutable_objective()->mutable_span_corruption();
  spans = span_corruption_of(opened.description);
  spans.set_density(options.mask_probability);
  spans.set_mean_span(options.mean_span);
  LanguageData data;
  data.train.push_back({file, 1.0});
  data.validation = file;
  const std::unique_ptr<Objective> objective = make_denoising_objective(std::move(data), tokenizer.get(), config);
  const EvaluationSum total = evaluate_objective(options, opened, *objective, nullptr);
  print_restored(options, *objective, total, "nats per token of the targets");
  return 0;
}

/// Throws Error(kUsage) for the first of `flags` that is given although no model of this kind is there.
void refuse_given(const std::vector<Option>& flags, bool fits, const std::string& path, const char* kind) {
  for (const Option& flag : flags) {
    if (fits || !flag.given()) continue;
    throw Error(ExitCode::kUsage, flag.name() + " is for " + kind + ", and " + path + " holds none");
  }
}

/// What hides tokens has a meaning for some models only.
void refuse_flags_of_other_models(const EvaluateOptions& options, const ModelFolder& opened) {
  const bool encoder = opened.description.model.bidirectional();
  const bool spans = has_decoder(opened.description.model);
  refuse_given(options.of_encoders_or_spans, encoder || spans, opened.path, "encoders, with a decoder or without");
  refuse_given(options.of_encoders, encoder, opened.path, "encoders without a decoder");
  refuse_given(options.of_spans, spans, opened.path, "encoders with a decoder");
}

int evaluate_tokens(const EvaluateOptions& options) {
  ModelFolder opened = open_model(options.checkpoint, options.threads, options.computing);
  opened.require_language_model();
  refuse_flags_of_other_models(options, opened);
  check_sequence(options, opened.description.model);
  if (options.next_sentence && !opened.description.model.next_sentence_head()) {
    throw Error(ExitCode::kData, opened.path + " has no head that tells whether texts follow each other",
                "transformers calls a model that has one BertForPreTraining; leave out --next-sentence");
  }
  const int64_t vocabulary = opened.description.model.vocabulary();
  const int64_t sequence = options.sequence > 0 ? options.sequence : opened.description.model.context();
  const TokenFile file = TokenFile::open(options.tokens);
  require_tokenizer_of(opened.path, options.tokens, file.vocabulary());
  if (file.tokens() <= sequence) {
    throw Error(ExitCode::kData, options.tokens + " has " + std::to_string(file.tokens()) +
                                     " tokens: too few for one sequence of " + std::to_string(sequence));
  }
  if (opened.description.model.bidirectional()) return evaluate_masked(options, opened, file, sequence);
  if (has_decoder(opened.description.model)) return evaluate_spans(options, opened, file, sequence);
  const CausalLm objective(file, file, vocabulary, sequence, 0);
  ByteCount byte_count(opened.path);
  const LossSum total = evaluate_objective(options, opened, objective, &byte_count).loss;
  const double loss = total.sum / static_cast<double>(total.count);
  const std::optional<double> bits_per_byte = byte_count.bits_per_byte(total.sum);
  if (options.json) {
    nlohmann::ordered_json json;
    json["loss"] = loss;
    json["perplexity"] = std::exp(loss);
    json["bits_per_byte"] = bits_per_byte ? nlohmann::ordered_json(*bits_per_byte) : nlohmann::ordered_json();
    json["tokens"] = total.count;
    std::cout << json.dump() << std::endl;
  } else {
    std::cout << "loss " << loss << " nats per token, perplexity " << std::exp(loss);
    if (bits_per_byte) std::cout << ", " << *bits_per_byte << " bits per byte";
    std::cout << ", over " << total.count << " tokens of " << options.tokens << std::endl;
  }
  return 0;
}

/// The loss of responses alone.
int evaluate_instructions(const EvaluateOptions& options) {
  ModelFolder opened = open_model(options.checkpoint, options.threads, options.computing);
  const InstructionTask task = read_instruction_task(
      {.train = {}, .validation = {options.instructions}, .sequence = options.sequence}, options.reading, opened);
  const LossSum total = evaluate_objective(options, opened, *task.objective, nullptr).loss;
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

void add_evaluate(Command app) {
  auto options = std::make_shared<EvaluateOptions>();
  Command command = app.subcommand(
      "evaluate", "Loss, perplexity and bits per byte on a token file; accuracy on questions or labelled texts");
  command.option("--checkpoint", options->checkpoint, "checkpoint folder, or run directory (newest)").required();
  Command what = command.group("data", "What to evaluate on");
  const Option tokens = what.option(
      "--tokens", options->tokens,
      "token file (.bin): loss, perplexity, and bits per byte of text where the checkpoint has a tokenizer; of an "
      "encoder, loss and accuracy of hidden tokens, with a decoder of spans");
  Option questions =
      what.option("--multiple-choice", options->questions,
                  "JSONL of questions as in HellaSwag (ctx, endings, label): accuracy of the likeliest ending");
  what.option("--instructions", options->instructions,
              "JSONL of prompts and responses, or messages: loss and perplexity of the responses alone");
  Option labelled =
      what.option("--labelled", options->labelled, "JSONL with \"text\" and \"label\": accuracy of a classifier");
  what.require_one();
  command
      .option("--predictions", options->predictions,
              "also write a line {\"label\", \"probability\", \"expected\"} for each text here")
      .needs(labelled);
  const std::vector<Option> of_instructions = add_instruction_options(command, options->reading);
  std::vector<Option> of_rows{
      command.option("--sequence", options->sequence, "tokens per sequence; 0: the model's context")
          .show_default()
          .non_negative(),
      command.option("--sequences", options->limit, "how many sequences (examples) from the start of the file; 0: all")
          .show_default()
          .non_negative()};
  command.option("--logits", options->logits, "also write the logits of every scored token here: f32, row by row")
      .excludes(questions)
      .excludes(labelled);
  options->of_encoders = {
      command
          .option("--mask-token", options->mask_token, "encoders: its id; -1: what config.json or the tokenizer says")
          .show_default()
          .range(int64_t{-1}, int64_t{2'000'000'000}),
      command.option("--mask-share", options->mask_share, "of these, the share that becomes the mask token")
          .show_default()
          .range(0.0, 1.0),
      command.option("--random-share", options->random_share, "and the share that becomes any token")
          .show_default()
          .range(0.0, 1.0)};
  options->of_encoders_or_spans = {
      command
          .option("--mask-probability", options->mask_probability,
                  "encoders (with a decoder or without): the share of the tokens that is to be restored; always the "
                  "same ones")
          .show_default()
          .range_above(0.0, 1.0)};
  options->of_spans = {
      command.option("--mean-span", options->mean_span, "with a decoder: tokens that are hidden together, on average")
          .show_default()
          .range(1.0, 1e6)};
  Option pairs = command.flag(
      "--next-sentence", options->next_sentence,
      "encoders with a head for it: in pairs of pieces of documents, and how many it knows to follow each other");
  pairs.needs(tokens);
  command.option("--short-share", options->short_share, "of these pairs, those shorter than the sequence")
      .needs(pairs)
      .show_default()
      .range(0.0, 1.0);
  command.option("--threads", options->threads, "0: all CPUs").show_default().range(0, 4096);
  add_device_options(command, options->computing);
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([=] {
    const auto only_with = [](const std::vector<Option>& flags, bool fits, const char* data) {
      for (const Option& flag : flags) {
        if (flag.given() && !fits) throw Error(ExitCode::kUsage, flag.name() + " has a meaning with " + data + " only");
      }
    };
    only_with(of_instructions, !options->instructions.empty(), "--instructions");
    only_with(of_rows, !options->tokens.empty() || !options->instructions.empty(), "--tokens and --instructions");
    for (const auto* flags : {&options->of_encoders, &options->of_spans, &options->of_encoders_or_spans}) {
      only_with(*flags, !options->tokens.empty(), "--tokens");
    }
    return !options->questions.empty()      ? evaluate_questions(*options)
           : !options->labelled.empty()     ? evaluate_labelled(*options)
           : !options->instructions.empty() ? evaluate_instructions(*options)
                                            : evaluate_tokens(*options);
  });
}

}  // namespace tsugi
