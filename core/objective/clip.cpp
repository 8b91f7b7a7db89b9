#include "core/objective/clip.h"

#include <algorithm>

#include "core/autograd/image_functions.h"
#include "core/autograd/pair_functions.h"
#include "core/config/families.h"
#include "core/data/hash.h"
#include "core/objective/block_losses.h"
#include "ops/base/error.h"
#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

constexpr float kClipDeviation = 0.02f;
constexpr uint64_t kTextDropout = 0x7E87;

/// How often the nearest of the other side has the right caption, both ways.
int64_t retrieved(const Context& context, const Tensor& features, const Tensor& captions) {
  const int64_t rows = features.shape()[0] / 2;
  const Tensor on_this_side = on_host(context, captions);
  const auto of_rows = [&](auto&& value) {
    return integers_of(context, {rows}, [&](int32_t* values) {
      for (int64_t i = 0; i < rows; ++i) values[i] = static_cast<int32_t>(value(i));
    });
  };
  const Tensor positives = of_rows([](int64_t i) { return i; });
  const Tensor groups = of_rows([](int64_t) { return 0; });
  const Tensor none = of_rows([](int64_t) { return kNoGroup; });
  const Tensor counts = of_rows([&](int64_t i) {
    const auto* const all = on_this_side.data<int32_t>();
    return std::count(all, all + rows, all[i]);
  });
  const Tensor log_sums = context.empty({rows}, DType::kF64);
  const Tensor images = features.slice(0, {rows, features.shape()[1]});
  const Tensor texts = features.slice(rows * features.shape()[1], {rows, features.shape()[1]});
  const InfoNce to_texts{images, texts, positives, none, groups, 1.0f, captions, captions, counts};
  const InfoNce to_images{texts, images, positives, none, groups, 1.0f, captions, captions, counts};
  return info_nce(context, to_texts, log_sums, {}).nearest + info_nce(context, to_images, log_sums, {}).nearest;
}

}  // namespace

FeatureLoss clip_loss(const Context& context, Communicator& communicator, const Tensor& features,
                      std::span<const int32_t> captions) {
  const BlockPair both_ways[] = {{0, 1}, {1, 0}};
  return contrast_blocks(context, communicator, features, 2, both_ways, captions);
}

ModelConfig caption_model(const Clip& config, float dropout) {
  ModelConfig model;
  model.set_family(ModelConfig::GPT2);
  model.set_layers(config.text_layers());
  model.set_heads(config.text_heads());
  model.set_width(config.text_width());
  model.set_context(config.text_context());
  model.set_vocabulary(kEndOfCaption + 1);
  model.set_dropout(dropout);
  resolve_family(model);
  return model;
}

ClipObjective::ClipObjective(ImageBatches pictures, const Clip& config, const ModelConfig& model)
    : FeatureObjective(std::move(pictures)), config_(config) {
  train_captions_ = number_captions(batches().data().train);
  if (numbers_.size() < 2) {
    throw Error(ExitCode::kData, batches().data().train.name +
                                     ": all captions are the same, so that there is nothing to tell a picture's from");
  }
  if (batches().data().validation) validation_captions_ = number_captions(*batches().data().validation);
  text_config_ = caption_model(config_, model.dropout());
}

std::vector<int32_t> ClipObjective::number_captions(const ImageSet& set) {
  if (set.captions.empty()) {
    throw Error(ExitCode::kData, set.name + " has no captions, which objective.clip learns",
                "`tsugi prepare-images --captions FILE` (or --class-captions) puts them beside the pictures");
  }
  const auto longest = static_cast<size_t>(config_.text_context()) - 1;
  std::vector<int32_t> numbers;
  for (size_t i = 0; i < set.captions.size(); ++i) {
    const std::string& caption = set.captions[i];
    if (caption.size() > longest) {
      throw Error(ExitCode::kData,
                  set.name + ": the caption of picture " + std::to_string(i) + " has " +
                      std::to_string(caption.size()) + " bytes, objective.clip.text_context " +
                      std::to_string(config_.text_context()) + " has room for " + std::to_string(longest),
                  "raise objective.clip.text_context");
    }
    numbers.push_back(numbers_.try_emplace(caption, static_cast<int32_t>(numbers_.size())).first->second);
  }
  return numbers;
}

void ClipObjective::declare_heads(ParameterStore& store, const ModelConfig& config) {
  const auto declare = [&](const char* name, int64_t in) {
    return Linear::declare(store, {.names = {name},
                                   .in = in,
                                   .rows = {config_.projection_width()},
                                   .deviation = kClipDeviation,
                                   .bias = false,
                                   .layout = WeightLayout::kOutIn});
  };
  scale_offset_ = store.add("logit_scale_offset", {1}, {Initialization::Kind::kZeros}, false);
  image_projection_ = declare("visual_projection", config.width());
  text_projection_ = declare("text_projection", config_.text_width());
  store.end_unit();
  text_.emplace(text_config_, store, false);
  store.add_prefix(kObjectivePrefix, 0);
}

Batch ClipObjective::batch_shape(int64_t rows, Documents documents) const {
  (void)documents;
  Batch batch = batches().shape(rows);
  batch.tokens = Tensor::view(nullptr, {rows, int64_t{config_.text_context()}}, DType::kI32);
  batch.positions = Tensor::view(nullptr, {rows}, DType::kI32);
  return batch;
}

void ClipObjective::fill_pair(const Batch& batch, int64_t row, const ImageView& view, int32_t caption) const {
  batches().fill(batch, row, view);
  const std::string& text = view.set->captions[static_cast<size_t>(view.image)];
  const int64_t context = config_.text_context();
  int32_t* const tokens = batch.tokens.data<int32_t>() + row * context;
  std::fill_n(tokens, context, 0);
  for (size_t i = 0; i < text.size(); ++i) tokens[i] = static_cast<uint8_t>(text[i]);
  tokens[text.size()] = kEndOfCaption;
  batch.positions.data<int32_t>()[row] = static_cast<int32_t>(row * context + static_cast<int64_t>(text.size()));
  batch.targets.data<int32_t>()[row] = caption;
}

Batch ClipObjective::training_batch(uint64_t first_sample, int64_t count) const {
  Batch batch = batches().empty(count);
  batch.tokens = host_integers({count, int64_t{config_.text_context()}});
  batch.positions = host_integers({count});
  batch.first_sample = first_sample;
  for (int64_t row = 0; row < count; ++row) {
    const uint64_t sample = first_sample + static_cast<uint64_t>(row);
    const int64_t image = batches().training_image(sample);
    fill_pair(batch, row, {&batches().data().train, image, sample, 0, true, 0},
              train_captions_[static_cast<size_t>(image)]);
  }
  return batch;
}

Batch ClipObjective::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  (void)limit;
  Batch batch = batches().empty(count);
  batch.tokens = host_integers({count, int64_t{config_.text_context()}});
  batch.positions = host_integers({count});
  for (int64_t row = 0; row < count; ++row) {
    const int64_t image = index * count + row;
    fill_pair(batch, row, {&*batches().data().validation, image, 0, 0, false, 0},
              validation_captions_[static_cast<size_t>(image)]);
  }
  return batch;
}

Variable ClipObjective::features(Tape& tape, const Transformer& model, const Batch& batch,
                                 const ForwardOptions& options) const {
  // Both projections are behind both transformers, so that the heads' gradients are complete first.
  const Variable image = model.pooled(tape, model.hidden_of_images(tape, batch.patches, options));
  ForwardOptions of_text = options;
  of_text.dropout.seed ^= kTextDropout;
  const Variable text = select_rows(tape, text_->hidden(tape, batch.tokens, of_text), batch.positions);
  const Variable z_image = normalize_rows(tape, image_projection_.forward(tape, image));
  const Variable z_text = normalize_rows(tape, text_projection_.forward(tape, text));
  return scale_pair(tape, z_image, z_text, 1.0 / static_cast<double>(config_.temperature()), scale_offset_);
}

EvaluationSum ClipObjective::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  const Variable both = features(tape, model, batch, {});
  const LossSum loss = compare_alone(tape.context(), both.value, batch).losses.front();
  return {loss, retrieved(tape.context(), both.value, batch.targets)};
}

std::map<std::string, std::string> ClipObjective::fingerprint() const {
  std::map<std::string, std::string> facts = FeatureObjective::fingerprint();
  Hash64 hash;
  const auto add = [&](const ImageSet& set) {
    for (const std::string& caption : set.captions) {
      hash.update(std::as_bytes(std::span(caption)));
      hash.update(std::as_bytes(std::span("\n", 1)));
    }
  };
  add(batches().data().train);
  if (batches().data().validation) add(*batches().data().validation);
  facts["captions"] = std::to_string(hash.value());
  return facts;
}

}  // namespace tsugi
