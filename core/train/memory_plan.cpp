#include "core/train/memory_plan.h"

#include "core/checkpoint/state_copy.h"
#include "core/nn/adapter.h"
#include "core/optim/sharded_adamw.h"
#include "dist/bucket_reducer.h"

namespace tsugi {
namespace {

Batch batch_shape(const Objective& objective, const RunConfig& config) {
  const bool apart = config.data().documents() == DataConfig::APART;
  return objective.batch_shape(config.batch().micro_batch(), apart ? Documents::kApart : Documents::kJoined);
}

/// One rank of many that says nothing to the others: for dry runs.
class PlannedRank : public Communicator {
 public:
  PlannedRank(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::unique_ptr<Pending> exchange(std::vector<Transfer> /*sends*/, std::vector<Transfer> /*receives*/) override {
    return std::make_unique<Nothing>();
  }
  std::unique_ptr<Pending> all_gather(void* /*buffer*/, std::vector<size_t> /*offsets*/) override {
    return std::make_unique<Nothing>();
  }
  std::vector<std::string> all_gather_strings(std::string_view mine) override {
    return std::vector<std::string>(static_cast<size_t>(size_), std::string(mine));
  }
  std::string broadcast(std::string_view mine, int /*root*/) override { return std::string(mine); }
  void barrier() override {}

 private:
  struct Nothing : Pending {
    void wait() override {}
  };
  int rank_;
  int size_;
};

/// Runs `body` on a meta context and lays out what it allocated.
template <class F>
ArenaPlan dry_run(Device device, F&& body) {
  device.meta = true;
  ThreadPool pool(1);
  PlanningMemory memory;
  const Context context(device, pool, memory);
  body(context);
  return plan_arena(memory.lifetimes());
}

}  // namespace

ArenaPlan plan_training_arena(Device device, ParameterStore& store, const Transformer& model,
                              const Objective& objective, const RunConfig& config) {
  store.bind_gradients(Tensor::view(nullptr, {store.trainable_chunks() * kChunkElements}, DType::kF32));
  const Batch batch = batch_shape(objective, config);
  ForwardOptions options;
  options.dropout.p = config.model().dropout();
  options.recompute = config.numerics().recompute();
  options.rotary_table = shape_of_rotary_table(model, objective);
  return dry_run(device, [&](const Context& context) {
    Tape tape(context);
    const Batch there = on_device(context, batch);
    if (objective.feature_width() > 0) {
      const Variable features = objective.features(tape, model, there, options);
      features.gradient->add(context, Tensor::view(nullptr, features.value.shape(), DType::kF32));
    } else {
      objective.loss(tape, model, there, options);
    }
    tape.backward();
  });
}

ArenaPlan plan_feature_arena(Device device, const Transformer& model, const Objective& objective,
                             const RunConfig& config) {
  const Batch batch = batch_shape(objective, config);
  return dry_run(device, [&](const Context& context) {
    Tape tape(context, false);
    objective.features(tape, model, on_device(context, batch), {});
  });
}

ArenaPlan plan_evaluation_arena(Device device, const Transformer& model, const Objective& objective,
                                const RunConfig& config) {
  const Batch batch = batch_shape(objective, config);
  return dry_run(device, [&](const Context& context) {
    Tape tape(context, false);
    objective.evaluate(tape, model, on_device(context, batch));
  });
}

Tensor shape_of_features(const Objective& objective, const RunConfig& config) {
  const int64_t rows = config.batch().micro_batch() * objective.feature_rows();
  return Tensor::view(nullptr, {config.batch().micro_batches(), rows, objective.feature_width()}, DType::kF32);
}

ArenaPlan plan_comparison_arena(Device device, const Objective& objective, const RunConfig& config, int ranks,
                                int rank) {
  PlannedRank communicator(rank, ranks);
  return dry_run(device, [&](const Context& context) {
    objective.compare(context, communicator, shape_of_features(objective, config), 0);
  });
}

Tensor shape_of_rotary_table(const Transformer& model, const Objective& objective) {
  if (model.config().position() != ModelConfig::ROTARY) return {};
  return Tensor::view(nullptr, {objective.sequence(), model.config().head_dim()}, DType::kF32);
}

bool copies_state(const Device& device, const CheckpointConfig& config) {
  return device.operators != nullptr || (config.asynchronous() && config.every_steps() > 0);
}

ShardLayout make_layout(const ParameterStore& store, const DistConfig& config, int ranks) {
  const int64_t bucket_bytes = int64_t{config.bucket_megabytes()} << 20;
  const int64_t chunk_bytes = kChunkElements * static_cast<int64_t>(sizeof(float));
  std::vector<int64_t> ends = make_buckets(store.unit_ends(), bucket_bytes / chunk_bytes);
  const int64_t trainable = store.trainable_chunks();
  if (trainable < store.chunks()) {
    for (const int64_t end : make_buckets({store.chunks() - trainable}, bucket_bytes / chunk_bytes)) {
      ends.push_back(trainable + end);
    }
  }
  return ShardLayout(std::move(ends), ranks);
}

int64_t copied_floats(const Device& device, const ParameterStore& store, const ShardLayout& layout, int rank,
                      const AdapterConfig& adapter) {
  const int64_t trainable = layout.before(store.trainable_chunks()).local_chunks(rank);
  const int64_t frozen = layout.local_chunks(rank) - trainable;
  // Beside a host's own memory an adapter's checkpoints need the adapter alone.
  const bool all = device.operators != nullptr || !has_adapter(adapter);
  return (3 * trainable + (all ? frozen : 0)) * kChunkElements;
}

MemoryPlan plan_memory(Device device, ParameterStore& store, const Transformer& model, const Objective& objective,
                       const RunConfig& config, int ranks, int rank) {
  const ShardLayout layout = make_layout(store, config.dist(), ranks);
  MemoryPlan plan;
  plan.parameters = store.chunks() * kChunkElements * static_cast<int64_t>(size_of(store.compute_type()));
  plan.parameters += static_cast<int64_t>(shape_of_rotary_table(model, objective).bytes());
  plan.optimizer = ShardedAdamW::state_bytes(store, layout, rank);
  plan.gradients =
      BucketReducer::buffer_bytes(layout.before(store.trainable_chunks()), rank, config.batch().micro_batches());
  if (copies_state(device, config.checkpoint())) {
    plan.checkpoint_copy = StateCopy::bytes(copied_floats(device, store, layout, rank, config.adapter()) +
                                            saved_elements(state_share(objective.state(), ranks, rank)));
  }
  plan.training_arena = static_cast<int64_t>(plan_training_arena(device, store, model, objective, config).total_bytes);
  if (objective.feature_width() > 0) {
    plan.feature_arena = static_cast<int64_t>(plan_feature_arena(device, model, objective, config).total_bytes);
    plan.comparison = static_cast<int64_t>(shape_of_features(objective, config).bytes() +
                                           plan_comparison_arena(device, objective, config, ranks, rank).total_bytes);
  }
  plan.objective_state = objective.state_bytes();
  plan.evaluation_arena = static_cast<int64_t>(plan_evaluation_arena(device, model, objective, config).total_bytes);
  return plan;
}

}  // namespace tsugi
