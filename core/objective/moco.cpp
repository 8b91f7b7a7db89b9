#include "core/objective/moco.h"

#include <algorithm>
#include <cmath>

#include "core/objective/leaf_comparison.h"
#include "ops/moving_average/moving_average.h"
#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

constexpr uint32_t kQueueSite = 0x51554555;

/// Computes with other weights while it lives.
class OtherWeights {
 public:
  OtherWeights(ParameterStore& store, const Tensor& weights) : store_(&store), own_(store.exchange_working(weights)) {}
  ~OtherWeights() { store_->exchange_working(own_); }
  OtherWeights(const OtherWeights&) = delete;
  OtherWeights& operator=(const OtherWeights&) = delete;

 private:
  ParameterStore* store_;
  Tensor own_;
};

/// Random directions, roughly even.
void fill_with_directions(const Tensor& rows, uint64_t seed) {
  const int64_t width = rows.shape()[1];
  for (int64_t row = 0; row < rows.shape()[0]; ++row) {
    const RandomStream stream{seed, static_cast<uint64_t>(row), kQueueSite};
    float* const values = rows.data<float>() + row * width;
    double squares = 0.0;
    for (int64_t i = 0; i < width; ++i) {
      // The sum of four uniform numbers is about normal.
      const Philox4 words = stream.block(static_cast<uint32_t>(i));
      float sum = -2.0f;
      for (const uint32_t word : words) sum += uniform_open(word);
      values[i] = sum;
      squares += static_cast<double>(sum) * static_cast<double>(sum);
    }
    const auto scale = static_cast<float>(1.0 / std::sqrt(std::max(squares, 1e-24)));
    for (int64_t i = 0; i < width; ++i) values[i] *= scale;
  }
}

/// Half `half` of the rows of [2·B, …].
Tensor half_of(const Tensor& rows, int64_t half) {
  const Shape& shape = rows.shape();
  const int64_t elements = rows.elements() / 2;
  return rows.slice(half * elements, {shape[0] / 2, shape[1], shape[2]});
}

}  // namespace

InfoNceSum queue_contrast(const Context& context, const Tensor& queries, const Tensor& keys, const Tensor& queue,
                          float temperature, const Tensor& d_queries) {
  const int64_t rows = queries.shape()[0];
  const int64_t width = queries.shape()[1];
  const int64_t queued = queue.shape()[0];
  const Tensor all = context.empty({rows + queued, width}, DType::kF32);
  const Tensor positives = integers_of(context, {rows}, [&](int32_t* places) {
    for (int64_t i = 0; i < rows; ++i) places[i] = static_cast<int32_t>(i);
  });
  // A query leaves out the keys of all pictures but its own, and nothing of the queue.
  const Tensor query_groups =
      integers_of(context, {rows}, [&](int32_t* groups) { std::fill_n(groups, rows, kNoGroup); });
  const Tensor key_groups = integers_of(context, {rows + queued}, [&](int32_t* groups) {
    std::fill_n(groups, rows, kNoGroup);
    std::fill_n(groups + rows, queued, 0);
  });
  const Tensor log_sums = context.empty({rows}, DType::kF64);
  copy(context, keys, all.slice(0, {rows, width}));
  copy(context, queue, all.slice(rows * width, {queued, width}));
  return info_nce(context, {queries, all, positives, query_groups, key_groups, temperature}, log_sums, d_queries);
}

MoCoObjective::MoCoObjective(ImageBatches batches, const MomentumContrast& config, const BatchConfig& batch)
    : TwoViews(std::move(batches), config.projection_width()),
      config_(config),
      micro_batch_(batch.micro_batch()),
      micro_batches_(batch.micro_batches()) {
  CHECK_EQ(config_.queue() % (micro_batch_ * micro_batches_), 0);
}

void MoCoObjective::take_memory(const Context& context, ParameterStore& store) {
  CHECK(store.compute_type() == DType::kF32);
  context_ = &context;
  store_ = &store;
  const int64_t width = config_.projection_width();
  key_weights_ = context.empty(store.working().shape(), DType::kF32);
  queue_ = context.empty({config_.queue(), width}, DType::kF32);
  fresh_ = context.empty({micro_batches_, micro_batch_, width}, DType::kF32);
}

void MoCoObjective::start() {
  copy(*context_, store_->working(), key_weights_);
  const Tensor directions = host_tensor(queue_.shape(), DType::kF32);
  fill_with_directions(directions, batches().seed());
  copy_from_host(*context_, directions.raw(), queue_);
}

Tensor MoCoObjective::keys_of(const Context& context, const Transformer& model, const Tensor& patches,
                              const ForwardOptions& options) const {
  const OtherWeights momentum(*store_, key_weights_);
  Tape silent(context, false);
  ForwardOptions plain = options;
  plain.dropout = {};
  return project(silent, model, patches, plain).value;
}

LossSum MoCoObjective::loss(Tape& tape, const Transformer& model, const Batch& batch,
                            const ForwardOptions& options) const {
  const Context& context = tape.context();
  const Tensor keys = keys_of(context, model, half_of(batch.patches, 1), options);
  if (!context.meta()) {
    const uint64_t sample = batch.first_sample / 2;  // that counts views
    const auto place = static_cast<int64_t>(sample % static_cast<uint64_t>(micro_batch_ * micro_batches_));
    CHECK_EQ(place % micro_batch_, 0);
    copy(context, keys, fresh_.slice(place * keys.shape()[1], keys.shape()));
  }
  const Variable queries = project(tape, model, half_of(batch.patches, 0), options);
  const Tensor gradient = queries.requires_gradient() ? context.empty(queries.value.shape(), DType::kF32) : Tensor();
  const InfoNceSum sum = queue_contrast(context, queries.value, keys, queue_, config_.temperature(), gradient);
  if (gradient.defined()) queries.gradient->add(context, gradient);
  return sum.loss;
}

EvaluationSum MoCoObjective::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  const Tensor keys = keys_of(tape.context(), model, half_of(batch.patches, 1), {});
  const Tensor queries = project(tape, model, half_of(batch.patches, 0), {}).value;
  const InfoNceSum sum = queue_contrast(tape.context(), queries, keys, queue_, config_.temperature(), {});
  return {sum.loss, sum.nearest};
}

void MoCoObjective::end_step(const Context& context, Communicator& communicator, int64_t update) {
  gather_leaves(communicator, fresh_);
  const int64_t batch = micro_batch_ * micro_batches_;
  const int64_t oldest = (update - 1) % (config_.queue() / batch) * batch;
  const int64_t width = config_.projection_width();
  copy(context, fresh_, queue_.slice(oldest * width, {batch, width}));
  moving_average(context, config_.momentum(), store_->working(), key_weights_);
}

SavedState MoCoObjective::state() const {
  CHECK(store_ != nullptr) << "take_memory() comes first";
  SavedState state{saved_tensors(*store_), {}};
  if (key_weights_.raw() != nullptr) {
    const OtherWeights momentum(*store_, key_weights_);
    state.ranges = whole_tensors(*store_);
  } else {  // planned only: lengths, and nothing that they point to
    for (size_t i = 0; i < state.tensors.size(); ++i) {
      StateRange& whole = state.ranges.emplace_back();
      whole.tensor = static_cast<int>(i);
      whole.length = 1;
      for (const int64_t extent : state.tensors[i].shape) whole.length *= extent;
    }
  }
  for (SavedTensor& tensor : state.tensors) tensor.name.insert(0, std::string(kObjectivePrefix) + "key_encoder.");
  StateRange all;
  all.length = queue_.elements();
  all.master = static_cast<float*>(queue_.raw());
  append_state(state,
               {{{std::string(kObjectivePrefix) + "queue", {config_.queue(), config_.projection_width()}}}, {all}});
  return state;
}

int64_t MoCoObjective::state_bytes() const {
  return static_cast<int64_t>(key_weights_.bytes() + queue_.bytes() + fresh_.bytes());
}

FeatureLoss MoCoObjective::compare_features(const Context& context, Communicator& communicator, const Tensor& features,
                                            std::span<const int32_t> numbers) const {
  (void)context, (void)communicator, (void)features, (void)numbers;
  LOG(FATAL) << "keys come from the queue";
}

}  // namespace tsugi
