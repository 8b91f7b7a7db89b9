// How a step runs: micro-batches, and then what all ranks decide by their numbers. On a device the host waits once, at
// the end.
#include <optional>

#include "core/objective/leaf_comparison.h"
#include "core/train/engine.h"
#include "ops/base/profile_range.h"
#include "ops/tensor/copy.h"
#include "ops/tensor/profile.h"

namespace tsugi {

Batch Engine::host_batch(int64_t leaf, uint64_t first_sample) const {
  const int64_t rows = config_.batch().micro_batch();
  return objective_->training_batch(first_sample + static_cast<uint64_t>(leaf * rows), rows);
}

ForwardOptions Engine::forward_options(const Batch& batch) {
  ForwardOptions options;
  options.dropout = {config_.model().dropout(), config_.seed(), batch.first_sample};
  options.recompute = config_.numerics().recompute();
  options.rotary_table = rotary_table_;
  options.on_unit_complete = [this](int unit) {
    const int64_t end = store_.unit_ends()[static_cast<size_t>(unit)];
    if (!recording_) return reducer_->mark_complete(end);
    if (!reducer_->would_send(recorded_chunks_, end)) return;
    recorded_chunks_ = end;
    recorder_->cut([this, end] { reducer_->mark_complete(end); });
  };
  return options;
}

void Engine::run_compared(uint64_t first_sample) {
  const LeafRange own = reducer_->leaves();
  const int64_t leaf_elements = features_.shape()[1] * features_.shape()[2];
  const auto slice = [&](const Tensor& all, int64_t index) {
    return all.slice(index * leaf_elements, {features_.shape()[1], features_.shape()[2]});
  };
  const bool alone = own.leaves() == 1;  // then nothing needs to run twice
  // Both passes must drop the same, and nothing is dropped where nothing is recorded.
  const bool record_features = alone || config_.model().dropout() > 0.0f;
  std::optional<Tape> tape;
  Variable z;
  const auto forward = [&](int64_t leaf, bool recording) {
    StaticArena& arena = recording ? *training_arena_ : *feature_arena_;
    arena.restart();
    tape.emplace(Context(device_, heap_context_.pool(), arena), recording);
    const Batch host = host_batch(leaf, first_sample);
    z = objective_->features(*tape, model_, on_device(tape->context(), host), forward_options(host));
  };
  const auto release = [&] {
    z = Variable();
    tape.reset();
  };
  for (int64_t leaf = own.begin; leaf < own.end; ++leaf) {
    const ProfileRange phase("features");
    forward(leaf, record_features);
    copy(heap_context_, z.value, slice(features_, leaf));
    if (!alone) release();
  }
  gather_leaves(device_communicator(), features_);
  comparison_arena_->restart();
  const Context comparing(device_, heap_context_.pool(), *comparison_arena_);
  const FeatureLoss loss = objective_->compare(comparing, device_communicator(), features_, first_sample);
  for (int64_t leaf = own.begin; leaf < own.end; ++leaf) {
    store_.bind_gradients(reducer_->begin_leaf());
    {
      const ProfileRange phase("forward");
      if (!alone) forward(leaf, true);
    }
    {
      const ProfileRange phase("backward");
      z.gradient->add(tape->context(), slice(loss.gradient, leaf - own.begin));
      tape->backward();
    }
    release();
    reducer_->end_leaf();
  }
  for (int64_t leaf = own.begin; leaf < own.end; ++leaf) {
    step_numbers_->put_loss(leaf, loss.losses[static_cast<size_t>(leaf - own.begin)]);
  }
}

void Engine::run_micro_batch(int64_t leaf, uint64_t first_sample, const Tensor& gradients) {
  const Batch host = host_batch(leaf, first_sample);
  const ForwardOptions options = forward_options(host);
  training_arena_->restart();
  Tape tape(Context(device_, heap_context_.pool(), *training_arena_));
  const Batch batch = on_device(tape.context(), host);
  LossSum loss;
  const auto compute = [&] {
    {
      const ProfileRange phase("forward");
      loss = objective_->loss(tape, model_, batch, options);
    }
    const ProfileRange phase("backward");
    tape.backward();
  };
  if (device_.operators == nullptr || !objective_->recordable()) {
    compute();
    return step_numbers_->put_loss(leaf, loss);
  }
  const Tensor slot = step_numbers_->loss_slot(leaf);
  const WorkRecorder::Key key{gradients.raw(), reducer_->in_last_leaf()};
  if (recorder_ == nullptr || warm_.insert(key).second) {
    device_.operators->leave_loss_in(slot);
    compute();
    return device_.operators->leave_loss_in({});
  }
  // The arena gives the same addresses to every micro-batch: the batch lies where the recorded one lay.
  if (!recorder_->has(key)) {
    recording_ = true;
    recorded_chunks_ = 0;
    recorder_->record(key, host.first_sample, compute);
    recording_ = false;
  }
  const ProfileRange phase("launch of a micro-batch");
  recorder_->launch(key, host.first_sample, slot);
}

StepReport Engine::step(int64_t update, uint64_t first_sample, float learning_rate, const StepSignals& signals) {
  const ProfileRange whole("step");
  Communicator& communicator = device_communicator();
  step_numbers_->put_signals(signals.stop, signals.ready);
  const LeafRange leaves = reducer_->leaves();
  if (features_.defined()) run_compared(first_sample);
  for (int64_t leaf = leaves.begin; leaf < leaves.end && !features_.defined(); ++leaf) {
    const Tensor gradients = reducer_->begin_leaf();
    store_.bind_gradients(gradients);
    run_micro_batch(leaf, first_sample, gradients);
    reducer_->end_leaf();
  }

  const OptimizerConfig& optimizer = config_.optimizer();
  std::vector<std::unique_ptr<Pending>> under_way;
  Tensor gradient, decision;
  {
    const ProfileRange phase("reduce gradients");
    gradient = reducer_->finish();
    optimizer_->square_sums(gradient, step_numbers_->square_sums());
    if (std::unique_ptr<Pending> numbers = step_numbers_->gather(communicator)) {
      numbers->order();
      under_way.push_back(std::move(numbers));
    }
    decision = step_numbers_->decide(optimizer.clip_norm());
  }
  {
    const ProfileRange phase("optimizer");
    AdamWStep adamw;
    adamw.learning_rate = learning_rate;
    adamw.beta1 = optimizer.beta1();
    adamw.beta2 = optimizer.beta2();
    adamw.epsilon = optimizer.epsilon();
    adamw.step = update;
    for (auto& gather : optimizer_->step(adamw, gradient, decision, communicator)) {
      under_way.push_back(std::move(gather));
    }
  }
  {
    const ProfileRange phase("gather parameters");
    const ProfiledOperator work("waiting for parameters", 0, {});
    for (const std::unique_ptr<Pending>& one : under_way) one->order();
    reducer_->settle();
    for (const std::unique_ptr<Pending>& one : under_way) one->wait();
  }

  const StepDecision decided = step_numbers_->read();
  StepReport report;
  report.loss = decided.loss;
  report.targets = static_cast<int64_t>(decided.targets);
  report.gradient_norm = decided.gradient_norm;
  report.finite = decided.finite != 0.0;
  report.stop = decided.stop != 0.0;
  report.ready = decided.ready != 0.0;
  if (report.finite) objective_->end_step(heap_context_, communicator, update);
  return report;
}

}  // namespace tsugi
