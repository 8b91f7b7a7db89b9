#include "core/objective/feature_objective.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/tensor/copy.h"

namespace tsugi {

Projector Projector::declare(ParameterStore& store, const std::string& name, int64_t in, int64_t units, int64_t out,
                             float deviation) {
  const auto layer = [&](const char* part, int64_t from, int64_t to) {
    return Linear::declare(store,
                           {.names = {name + part},
                            .in = from,
                            .rows = {to},
                            .deviation = deviation > 0.0f ? deviation : 1.0f / std::sqrt(static_cast<float>(from)),
                            .layout = WeightLayout::kOutIn});
  };
  Projector projector;
  projector.output = layer(".out", units, out);
  projector.hidden = layer(".hidden", in, units);
  return projector;
}

Batch FeatureObjective::batch_shape(int64_t rows, Documents documents) const {
  (void)documents;
  return batches_.shape(rows);
}

Batch FeatureObjective::training_batch(uint64_t first_sample, int64_t count) const {
  Batch batch = batches_.empty(count);
  batch.first_sample = first_sample;
  for (int64_t row = 0; row < count; ++row) {
    const uint64_t sample = first_sample + static_cast<uint64_t>(row);
    batches_.fill(batch, row, {&batches_.data().train, batches_.training_image(sample), sample, 0, true, 0});
  }
  return batch;
}

Batch FeatureObjective::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  (void)limit;
  Batch batch = batches_.empty(count);
  for (int64_t row = 0; row < count; ++row) {
    batches_.fill(batch, row, {&*batches_.data().validation, index * count + row, 0, 0, false, 0});
  }
  return batch;
}

int64_t FeatureObjective::validation_batches(int64_t count, int64_t limit) const {
  if (!batches_.data().validation) return 0;
  const int64_t all = batches_.data().validation->count();
  return (limit > 0 ? std::min(limit, all) : all) / count;
}

int32_t FeatureObjective::number_of(int64_t image) const {
  (void)image;
  return kIgnoreIndex;
}

FeatureLoss FeatureObjective::compare(const Context& context, Communicator& communicator, const Tensor& all,
                                      uint64_t first_sample) const {
  std::vector<int32_t> numbers;
  const auto samples = static_cast<uint64_t>(all.shape()[0] * all.shape()[1] / feature_rows());
  for (uint64_t i = 0; i < samples && !context.meta(); ++i) {
    numbers.push_back(number_of(batches_.training_image(first_sample + i)));
  }
  return compare_features(context, communicator, all, numbers);
}

FeatureLoss FeatureObjective::compare_alone(const Context& context, const Tensor& features, const Batch& batch) const {
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  const int64_t rows = features.shape()[0];
  const Tensor targets = on_host(context, batch.targets);
  std::span<const int32_t> numbers;
  if (!context.meta()) numbers = {targets.data<int32_t>(), static_cast<size_t>(rows / feature_rows())};
  return compare_features(context, *alone, features.reshape({1, rows, features.shape()[1]}), numbers);
}

LossSum FeatureObjective::loss(Tape& tape, const Transformer& model, const Batch& batch,
                               const ForwardOptions& options) const {
  const Variable z = features(tape, model, batch, options);
  const FeatureLoss loss = compare_alone(tape.context(), z.value, batch);
  if (z.requires_gradient()) z.gradient->add(tape.context(), loss.gradient.reshape(z.value.shape()));
  return loss.losses.front();
}

EvaluationSum FeatureObjective::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  const FeatureLoss loss = compare_alone(tape.context(), features(tape, model, batch, {}).value, batch);
  return {loss.losses.front(), loss.nearest};
}

std::vector<int32_t> each_by_itself(const Context& context, const Tensor& features, int64_t rows_per_sample) {
  std::vector<int32_t> samples;
  if (context.meta()) return samples;
  samples.resize(static_cast<size_t>(features.shape()[0] * features.shape()[1] / rows_per_sample));
  std::iota(samples.begin(), samples.end(), 0);
  return samples;
}

Tensor places_of(const Context& context, int64_t rows, int64_t length, int64_t first, int64_t places) {
  return integers_of(context, {places * rows}, [&](int32_t* indices) {
    for (int64_t i = 0; i < places * rows; ++i) {
      indices[i] = static_cast<int32_t>(i % rows * length + first + i / rows);
    }
  });
}

}  // namespace tsugi
