#include "core/objective/cpc.h"

#include <algorithm>
#include <numeric>

#include "core/autograd/functions.h"
#include "core/autograd/pair_functions.h"
#include "ops/reduce/reduce.h"

namespace tsugi {
namespace {

constexpr float kPredictionDeviation = 0.02f;

/// Places [first, first + places) of all rows of a batch [rows, length], place by place.
Tensor places_of(const Context& context, int64_t rows, int64_t length, int64_t first, int64_t places) {
  const Tensor indices = context.empty({places * rows}, DType::kI32);
  for (int64_t i = 0; i < places * rows && !context.meta(); ++i) {
    indices.data<int32_t>()[i] = static_cast<int32_t>(i % rows * length + first + i / rows);
  }
  return indices;
}

/// x in f32.
Variable in_f32(Tape& tape, const Variable& x) {
  if (x.value.dtype() == DType::kF32) return x;
  const Context& context = tape.context();
  Variable out = tape.variable(context.empty(x.value.shape(), DType::kF32), x.requires_gradient());
  convert(context, x.value, out.value);
  if (!out.requires_gradient()) return out;
  tape.record([context, x, output = out.gradient]() {
    const Tensor d_x = context.empty(x.value.shape(), x.value.dtype());
    convert(context, output->take(), d_x);
    x.gradient->add(context, d_x);
  });
  return out;
}

}  // namespace

CpcObjective::CpcObjective(ImageBatches batches, const ContrastivePrediction& config)
    : batches_(std::move(batches)), config_(config), patches_(batches_.tokens() - 1), blocks_(patches_) {
  CHECK_LT(config_.steps(), patches_);
  for (int64_t k = 1; k <= config_.steps(); ++k) {
    for (int64_t t = 0; t + k < patches_; ++t) pairs_.push_back({blocks_++, t + k});
  }
}

void CpcObjective::declare_heads(ParameterStore& store, const ModelConfig& config) {
  const auto declare = [&](const std::string& name) {
    return Linear::declare(store, {.names = {name},
                                   .in = config.width(),
                                   .rows = {config_.projection_width()},
                                   .deviation = kPredictionDeviation,
                                   .bias = false,
                                   .layout = WeightLayout::kOutIn});
  };
  predictions_.clear();
  for (int64_t k = 1; k <= config_.steps(); ++k) predictions_.push_back(declare("prediction." + std::to_string(k)));
  code_ = declare("code");
  store.end_unit();
  store.add_prefix(kObjectivePrefix, 0);
}

Batch CpcObjective::batch_shape(int64_t rows, Documents documents) const {
  (void)documents;
  return batches_.shape(rows);
}

Batch CpcObjective::training_batch(uint64_t first_sample, int64_t count) const {
  Batch batch = batches_.empty(count);
  batch.first_sample = first_sample;
  for (int64_t row = 0; row < count; ++row) {
    const uint64_t sample = first_sample + static_cast<uint64_t>(row);
    batches_.fill(batch, row, {&batches_.data().train, batches_.training_image(sample), sample, 0, true, 0});
  }
  return batch;
}

int64_t CpcObjective::validation_batches(int64_t count, int64_t limit) const {
  if (!batches_.data().validation) return 0;
  const int64_t all = batches_.data().validation->count();
  return (limit > 0 ? std::min(limit, all) : all) / count;
}

Batch CpcObjective::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  (void)limit;
  Batch batch = batches_.empty(count);
  for (int64_t row = 0; row < count; ++row) {
    batches_.fill(batch, row, {&*batches_.data().validation, index * count + row, 0, 0, false, 0});
  }
  return batch;
}

Variable CpcObjective::features(Tape& tape, const Transformer& model, const Batch& batch,
                                const ForwardOptions& options) const {
  const Context& context = tape.context();
  const int64_t rows = batch.patches.shape()[0];
  const Variable hidden = model.hidden_of_images(tape, batch.patches, options);
  const Variable embedded = model.patch_features(tape, batch.patches);
  const Variable in_order = select_rows(tape, embedded, places_of(context, rows, patches_, 0, patches_));
  std::vector<Variable> parts{code_.forward(tape, in_order)};
  for (size_t k = 1; k <= predictions_.size(); ++k) {
    // The class token comes first: patch t is token t.
    const int64_t places = patches_ - static_cast<int64_t>(k);
    const Variable seen = select_rows(tape, hidden, places_of(context, rows, patches_ + 1, 1, places));
    parts.push_back(predictions_[k - 1].forward(tape, seen));
  }
  return in_f32(tape, concatenate_rows(tape, parts));
}

FeatureLoss CpcObjective::compare(const Context& context, Communicator& communicator, const Tensor& all,
                                  uint64_t first_sample) const {
  (void)first_sample;
  std::vector<int32_t> samples(static_cast<size_t>(all.shape()[0] * all.shape()[1] / blocks_));
  std::iota(samples.begin(), samples.end(), 0);
  return contrast_blocks(context, communicator, all, blocks_, pairs_, samples);
}

FeatureLoss CpcObjective::compare_alone(const Context& context, const Tensor& features) const {
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  return compare(context, *alone, features.reshape({1, features.shape()[0], features.shape()[1]}), 0);
}

LossSum CpcObjective::loss(Tape& tape, const Transformer& model, const Batch& batch,
                           const ForwardOptions& options) const {
  const Variable all = features(tape, model, batch, options);
  const FeatureLoss loss = compare_alone(tape.context(), all.value);
  if (all.requires_gradient()) all.gradient->add(tape.context(), loss.gradient.reshape(all.value.shape()));
  return loss.losses.front();
}

EvaluationSum CpcObjective::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  const FeatureLoss loss = compare_alone(tape.context(), features(tape, model, batch, {}).value);
  return {loss.losses.front(), loss.nearest};
}

}  // namespace tsugi
