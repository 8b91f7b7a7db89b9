#include "core/train/memory_plan.h"

#include "core/checkpoint/state_copy.h"
#include "core/optim/sharded_adamw.h"
#include "dist/bucket_reducer.h"

namespace tsugi {
namespace {

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
  store.bind_gradients(Tensor::view(nullptr, {store.chunks() * kChunkElements}, DType::kF32));
  const Batch batch = shape_of_batch(config.batch().micro_batch(), objective.sequence(), objective.has_accuracy());
  ForwardOptions options;
  options.dropout.p = config.model().dropout();
  options.recompute = config.numerics().recompute();
  return dry_run(device, [&](const Context& context) {
    Tape tape(context);
    objective.loss(tape, model, batch, options);
    tape.backward();
  });
}

ArenaPlan plan_evaluation_arena(Device device, const Transformer& model, const Objective& objective,
                                const RunConfig& config) {
  const Batch batch = shape_of_batch(config.batch().micro_batch(), objective.sequence(), objective.has_accuracy());
  return dry_run(device, [&](const Context& context) {
    Tape tape(context, false);
    objective.evaluate(tape, model, batch);
  });
}

bool copies_state(const CheckpointConfig& config) { return config.asynchronous() && config.every_steps() > 0; }

ShardLayout make_layout(const ParameterStore& store, const DistConfig& config, int ranks) {
  const int64_t bucket_bytes = int64_t{config.bucket_megabytes()} << 20;
  const int64_t chunk_bytes = kChunkElements * static_cast<int64_t>(sizeof(float));
  return ShardLayout(make_buckets(store.unit_ends(), bucket_bytes / chunk_bytes), ranks);
}

MemoryPlan plan_memory(Device device, ParameterStore& store, const Transformer& model, const Objective& objective,
                       const RunConfig& config, int ranks, int rank) {
  const ShardLayout layout = make_layout(store, config.dist(), ranks);
  MemoryPlan plan;
  plan.parameters = store.chunks() * kChunkElements * static_cast<int64_t>(size_of(store.compute_type()));
  plan.optimizer = ShardedAdamW::state_bytes(store, layout, rank);
  plan.gradients = BucketReducer::buffer_bytes(layout, rank, config.batch().micro_batches());
  if (copies_state(config.checkpoint())) {
    plan.checkpoint_copy = StateCopy::bytes(layout.local_chunks(rank) * kChunkElements);
  }
  plan.training_arena = static_cast<int64_t>(plan_training_arena(device, store, model, objective, config).total_bytes);
  plan.evaluation_arena = static_cast<int64_t>(plan_evaluation_arena(device, model, objective, config).total_bytes);
  return plan;
}

}  // namespace tsugi
