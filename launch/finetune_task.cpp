#include "launch/finetune_task.h"

#include <glog/logging.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <sstream>

#include "core/config/config.h"
#include "core/config/families.h"
#include "core/downstream/baselines.h"
#include "core/downstream/few_labels.h"
#include "core/objective/classification.h"
#include "core/objective/image_classification.h"
#include "launch/image_data.h"
#include "launch/mask_token.h"
#include "launch/pair_data.h"
#include "launch/training_data.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

/// The flag that a field of the configuration comes from; "": none.
std::string flag_of(const std::string& field) {
  static const std::map<std::string, std::string> flags{{"optimizer.learning_rate", "--learning-rate"},
                                                        {"optimizer.weight_decay", "--weight-decay"},
                                                        {"model.dropout", "--dropout"},
                                                        {"batch.sequence", "--sequence"},
                                                        {"batch.micro_batch", "--batch"},
                                                        {"batch.micro_batches", "--micro-batches"},
                                                        {"steps", "--epochs"},
                                                        {"dist.threads", "--threads"},
                                                        {"evaluation.every_steps", "--evaluate-every"},
                                                        {"checkpoint.every_steps", "--checkpoint-every"},
                                                        {"adapter.rank", "--lora-rank"},
                                                        {"adapter.alpha", "--lora-alpha"},
                                                        {"adapter.targets", "--lora-targets"},
                                                        {"adapter.bottleneck", "--bottleneck"},
                                                        {"adapter.placement", "--bottleneck-placement"}};
  const auto found = flags.find(field);
  return found == flags.end() ? "" : found->second;
}

/// Says of a complaint about a configuration that the user never wrote which flags it is about:
/// "finetune:60:3: optimizer.learning_rate is …" becomes "--learning-rate (optimizer.learning_rate) is …".
std::string in_terms_of_flags(const std::string& complaint) {
  std::string result;
  const auto is_name = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.'; };
  std::istringstream lines(complaint);
  for (std::string line; std::getline(lines, line);) {
    if (!result.empty()) result += '\n';
    size_t place = 0;
    if (line.starts_with("finetune:")) place = line.find(": ") == std::string::npos ? 0 : line.find(": ") + 2;
    while (place < line.size()) {
      const size_t end =
          std::find_if_not(line.begin() + static_cast<std::ptrdiff_t>(place), line.end(), is_name) - line.begin();
      const std::string word = line.substr(place, end - place);
      const std::string flag = flag_of(word);
      result += flag.empty() ? word : flag + " (" + word + ")";
      if (end < line.size()) result += line[end];
      place = end + 1;
    }
  }
  return result;
}

/// A RunConfig from the options: everything that a recipe would say.
RunConfig make_config(const FinetuneOptions& options, ModelConfig model, int64_t sequence, int64_t samples) {
  RunConfig config;
  model.set_dropout(static_cast<float>(options.dropout));
  *config.mutable_model() = model;
  config.set_name("finetune");
  if (model.family() == ModelConfig::VIT) {
    config.mutable_objective()->mutable_image_classification();
  } else if (model.bidirectional()) {
    config.mutable_objective()->mutable_masked_lm();
  }
  if (has_decoder(model)) config.mutable_objective()->mutable_sequence_to_sequence();
  config.mutable_data()->set_train(options.train);
  config.mutable_data()->set_validation(options.validation);
  const auto rows = static_cast<int32_t>(std::max<int64_t>(options.batch / options.micro_batches, 1));
  config.mutable_batch()->set_sequence(static_cast<int32_t>(sequence));
  config.mutable_batch()->set_micro_batch(rows);
  config.mutable_batch()->set_micro_batches(options.micro_batches);
  const double steps =
      options.epochs * static_cast<double>(samples) / (static_cast<double>(rows) * options.micro_batches);
  config.set_steps(std::max<int64_t>(static_cast<int64_t>(steps), 1));
  config.set_seed(options.seed);
  config.mutable_optimizer()->set_learning_rate(static_cast<float>(options.learning_rate));
  config.mutable_optimizer()->set_weight_decay(static_cast<float>(options.weight_decay));
  config.mutable_schedule()->set_warmup_steps(config.steps() / 10);
  config.mutable_schedule()->set_final_fraction(0.0f);
  config.mutable_evaluation()->set_every_steps(options.evaluate_every);
  config.mutable_checkpoint()->set_every_steps(options.checkpoint_every);
  config.mutable_dist()->set_threads(options.threads);
  *config.mutable_compute() = options.computing.config();
  NumericsConfig::Compute compute = NumericsConfig::FP32;
  CHECK(NumericsConfig::Compute_Parse(options.computing.compute, &compute)) << options.computing.compute;
  config.mutable_numerics()->set_compute(compute);
  config.mutable_adapter()->set_rank(options.lora_rank);
  config.mutable_adapter()->set_alpha(static_cast<float>(options.lora_alpha));
  config.mutable_adapter()->set_targets(options.lora_targets);
  config.mutable_adapter()->set_bottleneck(options.bottleneck);
  if (options.bottleneck_placement == "both") config.mutable_adapter()->set_placement(AdapterConfig::BOTH);
  RunConfig resolved;
  try {
    parse_config(to_text(config), "finetune", {}, resolved);
    validate_run(resolved);
  } catch (const Error& error) {
    throw Error(error.code(), in_terms_of_flags(error.what()), error.hint());
  }
  return resolved;
}

std::vector<LabelledTokens> encode(const Tokenizer& tokenizer, const std::vector<LabelledText>& texts) {
  std::vector<LabelledTokens> encoded;
  for (const LabelledText& one : texts) encoded.push_back({tokenizer.encode(one.text), one.label});
  return encoded;
}

/// Classes of pictures, by those that --train and --validation are labelled with.
FinetuneTask make_image_classification(const FinetuneOptions& options, const ModelConfig& model) {
  FinetuneTask task;
  const ImageSet all = open_images(options.train, "train");
  if (all.labels.empty()) throw Error(ExitCode::kData, all.name + " has no labels to learn");
  ImageData data{select_images(all, require_of_each_class(all.labels, all.classes, options.per_class, all.name)),
                 open_images(options.validation, "validation")};
  task.train_examples = data.train.count();
  task.config = make_config(options, model, model.context(), task.train_examples);
  auto classifier = std::make_unique<ImageClassifier>(
      ImageBatches(std::move(data), task.config.model(), task.config.objective().image_classification().augmentation(),
                   options.seed),
      ImageClassifier::Task::kLabels);
  task.labels = classifier->classes();
  task.objective = std::move(classifier);
  return task;
}

FinetuneTask make_classification(const FinetuneOptions& options, const ModelFolder& opened) {
  if (has_decoder(opened.description.model)) {
    throw Error(ExitCode::kUsage,
                opened.path + " has an encoder and a decoder, for which --task classification is not built",
                "--task instructions teaches it to answer with the label");
  }
  FinetuneTask task;
  const std::vector<LabelledText> all = read_labelled_jsonl(options.train, task.labels, true);
  const std::vector<LabelledText> train = some_of_each_class(all, task.labels, options.per_class, options.train);
  const std::vector<LabelledText> validation = read_labelled_jsonl(options.validation, task.labels, false);
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(opened.path, "classification of text");
  std::vector<LabelledTokens> train_tokens = encode(*tokenizer, train);
  std::vector<LabelledTokens> validation_tokens = encode(*tokenizer, validation);
  int64_t longest = 1;
  for (const auto* examples : {&train_tokens, &validation_tokens}) {
    for (const LabelledTokens& one : *examples) longest = std::max(longest, static_cast<int64_t>(one.tokens.size()));
  }
  const int64_t sequence = std::min<int64_t>(rounded_sequence(longest), opened.description.model.context());
  task.train_examples = static_cast<int64_t>(train.size());
  ModelConfig model = opened.description.model;
  model.set_pooler(false);  // it is part of the classifier's head
  model.set_discriminator(false);
  model.set_next_sentence_head(false);
  if (is_bert_like(model)) model.set_head_transform(true);  // of a head that a classifier does without
  task.config = make_config(options, model, sequence, task.train_examples);
  task.objective = std::make_unique<Classification>(std::move(train_tokens), std::move(validation_tokens),
                                                    static_cast<int64_t>(task.labels.size()), sequence, options.seed,
                                                    model.bidirectional());
  if (options.baselines) {
    const int labels = static_cast<int>(task.labels.size());
    task.majority = majority_accuracy(train, validation);
    task.ngrams = ngram_accuracy(train, validation, labels);
  }
  return task;
}

FinetuneTask make_language_task(const FinetuneOptions& options, const ModelFolder& opened) {
  FinetuneTask task;
  const ModelConfig& model = opened.description.model;
  DataConfig data;
  data.set_train(options.train);
  data.set_validation(options.validation);
  const DataFiles files = find_data(data);
  const int64_t windows = std::max<int64_t>((TokenFile::open(files.train).tokens() - 1) / model.context(), 1);
  task.config = make_config(options, model, model.context(), windows);
  if (model.bidirectional()) {
    const std::unique_ptr<Tokenizer> tokenizer = files.tokenizer.empty() ? nullptr : load_tokenizer(files.tokenizer);
    task.config.mutable_objective()->mutable_masked_lm()->set_mask_token(
        checkpoint_mask_token(-1, opened.description, tokenizer.get()));
  }
  if (has_decoder(model)) {
    *task.config.mutable_objective()->mutable_span_corruption() = span_corruption_of(opened.description);
  }
  task.objective = make_language_objective(files, task.config, opened.path);
  return task;
}

FinetuneTask make_instruction_task(const FinetuneOptions& options, const ModelFolder& opened) {
  FinetuneTask task;
  InstructionReading reading{.train = {options.train},
                             .validation = {},
                             .validation_fraction = options.validation_fraction,
                             .sequence = options.sequence,
                             .packed = options.packed,
                             .seed = options.seed};
  if (!options.validation.empty()) reading.validation = {options.validation};
  task.instructions = read_instruction_task(reading, options.instructions, opened);
  task.config =
      make_config(options, opened.description.model, task.instructions->objective->sequence(), task.instructions->rows);
  if (options.packed) {
    task.config.mutable_data()->set_documents(DataConfig::APART);
    task.config.mutable_data()->set_packing(DataConfig::WHOLE_DOCUMENTS);
  }
  task.objective = std::move(task.instructions->objective);
  return task;
}

}  // namespace

FinetuneTask make_finetune_task(const FinetuneOptions& options, const ModelFolder& opened) {
  if (opened.description.model.family() == ModelConfig::VIT) {
    if (options.task == "classification" && !options.baselines) {
      return make_image_classification(options, opened.description.model);
    }
    throw Error(ExitCode::kUsage, opened.path + " holds a model of images: " +
                                      (options.baselines ? "--baselines are of texts"
                                                         : "--task " + options.task + " is learnt from texts"));
  }
  if (options.task == "classification") return make_classification(options, opened);
  return options.task == "instructions" ? make_instruction_task(options, opened) : make_language_task(options, opened);
}

}  // namespace tsugi
