#include "core/objective/masked_autoencoder.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/autograd/image_functions.h"
#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

constexpr int32_t kHiddenKind = 1;

/// What the decoder has to know of a batch, from the tokens that the model saw.
struct HiddenPatches {
  Tensor kinds;    ///< i32 [rows, 1 + patches]: kHiddenKind or 0
  Tensor tokens;   ///< i32 [rows · hidden]: rows of [rows · (1 + patches)]
  Tensor targets;  ///< i32 [rows · hidden]: rows of [rows · patches]; kIgnoreIndex of empty rows
};

HiddenPatches hidden_patches_of(const Context& context, const Batch& batch, int64_t hidden) {
  const int64_t rows = batch.patches.shape()[0];
  const int64_t tokens = 1 + batch.patches.shape()[1];
  const Tensor seen = on_host(context, batch.positions);
  const Tensor pictures = on_host(context, batch.targets);
  HiddenPatches result;
  std::vector<int64_t> places;  // of hidden tokens
  result.kinds = integers_of(context, {rows, tokens}, [&](int32_t* kinds) {
    std::fill_n(kinds, rows * tokens, kHiddenKind);
    for (int64_t i = 0; i < seen.elements(); ++i) kinds[seen.data<int32_t>()[i]] = 0;
    for (int64_t token = 0; token < rows * tokens; ++token) {
      if (kinds[token] == kHiddenKind) places.push_back(token);
    }
    CHECK_EQ(std::ssize(places), rows * hidden);
  });
  const auto of_places = [&](auto&& value) {
    return integers_of(context, {rows * hidden}, [&](int32_t* values) {
      for (const int64_t token : places) *values++ = static_cast<int32_t>(value(token));
    });
  };
  result.tokens = of_places([](int64_t token) { return token; });
  result.targets = of_places([&](int64_t token) {
    const int64_t row = token / tokens;
    return pictures.data<int32_t>()[row] == kIgnoreIndex ? int64_t{kIgnoreIndex} : token - row - 1;
  });
  return result;
}

}  // namespace

int64_t MaskedAutoencoderObjective::hidden_patches(const MaskedAutoencoder& config, int64_t patches) {
  return std::llround(config.mask_ratio() * static_cast<double>(patches));
}

MaskedAutoencoderObjective::MaskedAutoencoderObjective(ImageBatches batches, const MaskedAutoencoder& config,
                                                       const ModelConfig& model)
    : batches_(std::move(batches)),
      config_(config),
      patches_(int64_t{model.context()} - 1),
      hidden_(hidden_patches(config, patches_)),
      decoder_(model) {
  CHECK(hidden_ >= 1 && hidden_ < patches_) << hidden_ << " of " << patches_;
  const int32_t width = config.decoder_width() > 0 ? config.decoder_width() : model.width();
  decoder_.set_mlp_width(
      static_cast<int32_t>(std::max<int64_t>(int64_t{model.mlp_width()} * width / model.width(), 1)));
  decoder_.set_width(width);
  decoder_.set_head_dim(width / model.heads());
  decoder_.set_layers(config.decoder_layers());
}

void MaskedAutoencoderObjective::declare_heads(ParameterStore& store, const ModelConfig& config) {
  const std::string name = "projector.decoder.";
  const auto deviation = static_cast<float>(config.init_deviation());
  const int64_t width = decoder_.width();
  const auto linear_layer = [&](const char* part, int64_t in, int64_t out, bool bias) {
    return Linear::declare(store, {.names = {name + part},
                                   .in = in,
                                   .rows = {out},
                                   .deviation = deviation,
                                   .bias = bias,
                                   .layout = WeightLayout::kOutIn});
  };
  const int64_t patch = config.patch_size();
  pixels_ = linear_layer("pixels", width, config.image_channels() * patch * patch, true);
  norm_ = Norm::declare(store, name + "norm", decoder_);
  blocks_.resize(static_cast<size_t>(decoder_.layers()));
  for (size_t i = blocks_.size(); i-- > 0;) {
    // Counted on from the model's, for the places of dropout.
    const int64_t index = config.layers() + static_cast<int64_t>(i);
    blocks_[i] = Block::declare(store, name + "layer." + std::to_string(i), index, decoder_, {});
  }
  const Initialization normal{Initialization::Kind::kNormal, deviation};
  positions_ = store.add(name + "positions", {1 + patches_, width}, normal, true);
  kinds_ = store.add(name + "kinds", {2, width}, normal, false);
  entrance_ = linear_layer("entrance", config.width(), width, false);
  store.end_unit();
}

Batch MaskedAutoencoderObjective::batch_shape(int64_t rows, Documents documents) const {
  (void)documents;
  Batch batch = batches_.shape(rows);
  batch.positions = Tensor::view(nullptr, {rows * sequence()}, DType::kI32);
  return batch;
}

void MaskedAutoencoderObjective::fill(const Batch& batch, int64_t row, const ImageView& view,
                                      const RandomStream& stream) const {
  if (view.set != nullptr) {
    batches_.fill(batch, row, view);
    batch.targets.data<int32_t>()[row] = 0;  // not an empty one
  }
  // The patches of the lowest words are seen.
  std::vector<std::pair<uint32_t, int64_t>> order;
  for (int64_t n = 0; n < patches_; ++n) order.emplace_back(stream.word(static_cast<uint64_t>(n)), n);
  std::ranges::sort(order);
  std::vector<int64_t> seen{0};  // the class token
  for (int64_t i = 0; i < patches_ - hidden_; ++i) seen.push_back(1 + order[static_cast<size_t>(i)].second);
  std::ranges::sort(seen);
  int32_t* const to = batch.positions.data<int32_t>() + row * sequence();
  for (size_t i = 0; i < seen.size(); ++i) to[i] = static_cast<int32_t>(row * (1 + patches_) + seen[i]);
}

Batch MaskedAutoencoderObjective::training_batch(uint64_t first_sample, int64_t count) const {
  Batch batch = batches_.empty(count);
  batch.first_sample = first_sample;
  batch.positions = host_integers({count * sequence()});
  for (int64_t row = 0; row < count; ++row) {
    const uint64_t sample = first_sample + static_cast<uint64_t>(row);
    fill(batch, row, {&batches_.data().train, batches_.training_image(sample), sample, 0, true},
         batches_.training_stream(sample));
  }
  return batch;
}

int64_t MaskedAutoencoderObjective::validation_batches(int64_t count, int64_t limit) const {
  return (batches_.validation_images(limit) + count - 1) / count;
}

Batch MaskedAutoencoderObjective::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  Batch batch = batches_.empty(count);
  batch.positions = host_integers({count * sequence()});
  const int64_t images = batches_.validation_images(limit);
  for (int64_t row = 0; row < count; ++row) {
    const int64_t image = index * count + row;
    const ImageSet* const set = image < images ? &*batches_.data().validation : nullptr;
    fill(batch, row, {set, image}, batches_.validation_stream(image));
  }
  return batch;
}

LossSum MaskedAutoencoderObjective::loss(Tape& tape, const Transformer& model, const Batch& batch,
                                         const ForwardOptions& options) const {
  const HiddenPatches hidden = hidden_patches_of(tape.context(), batch, hidden_);
  ForwardOptions seeing = options;
  seeing.seen = batch.positions;
  const Variable seen = entrance_.forward(tape, model.hidden_of_images(tape, batch.patches, seeing));
  const Variable places = embed(tape, hidden.kinds, kinds_, positions_, Dropout{});
  const Variable spread = spread_rows(tape, seen, batch.positions, hidden.kinds.elements());
  ResidualStream stream{add(tape, places, {spread.value.reshape(places.value.shape()), spread.gradient}), {}};
  const BlockContext shared{options.dropout, {}, {}, {}};
  for (const Block& block : blocks_) stream = block.forward(tape, stream, shared);
  const Variable normed = norm_.forward(tape, stream, options.dropout.at(blocks_.back().place(2))).normed;
  const Variable restored = pixels_.forward(tape, select_rows(tape, normed, hidden.tokens));
  return squared_error_loss(tape, restored, batch.patches, hidden.targets, config_.normalize());
}

}  // namespace tsugi
