// One rank's part of training: model, gradients, optimizer and memory, and how a step and an evaluation run.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>

#include "core/objective/objective.h"
#include "core/optim/sharded_adamw.h"
#include "core/train/memory_plan.h"
#include "core/train/step_numbers.h"
#include "dist/bucket_reducer.h"
#include "ops/tensor/work_recorder.h"

namespace tsugi {

/// What a step was, equal on all ranks.
struct StepReport {
  double loss = 0.0;           ///< mean over the valid targets of the global batch, nats
  int64_t targets = 0;         ///< how many they are
  double gradient_norm = 0.0;  ///< of that mean loss, before clipping
  bool finite = true;          ///< false: loss or norm is not finite and nothing was updated
  bool stop = false;           ///< some rank was asked to stop
  bool ready = false;          ///< all ranks are ready for what is under way beside training
};

/// What a rank tells the others with a step.
struct StepSignals {
  bool stop = false;   ///< it was asked to stop
  bool ready = false;  ///< its part of what is under way beside training is done
};

/// What an evaluation was, equal on all ranks.
struct EvaluationReport {
  double loss = 0.0;
  int64_t targets = 0;
  int64_t correct = 0;
  std::vector<std::pair<std::string, double>> scores = {};  ///< Objective::score_names() and their means
};

/// What numerics.compute asks for.
DType compute_type(const RunConfig& config);

class Engine {
 public:
  /// Builds everything for this rank and takes its memory. `frozen` may be empty. `config` is validated.
  /// `of_device`: a communicator of the device's memory; null: what is there goes by way of the host. `recorder`: of
  /// the device; with it a micro-batch is recorded when its gradient buffer is used for the second time, and launched
  /// as a whole from then on. Null: every kernel is launched by itself. Throws Error(kUsage) when there are more ranks
  /// than micro-batches, and for what `device` does not provide.
  Engine(ThreadPool& pool, Communicator& communicator, const RunConfig& config, Objective& objective,
         const std::function<bool(const ParameterInfo&)>& frozen, Device device = {}, Communicator* of_device = nullptr,
         WorkRecorder* recorder = nullptr);

  ParameterStore& store() { return store_; }
  const Transformer& model() const { return model_; }
  ShardedAdamW& optimizer() { return *optimizer_; }
  /// With memory for what lives long.
  const Context& context() const { return heap_context_; }
  /// How many of saved_tensors() are the objective's heads; they come first, and are in no pretrained folder.
  int head_tensors() const { return heads_; }
  /// Bytes actually taken.
  const MemoryPlan& memory() const { return memory_plan_; }

  /// Update number `update` (1 is the first) from the global samples that begin at `first_sample`. Collective.
  StepReport step(int64_t update, uint64_t first_sample, float learning_rate, const StepSignals& signals = {});

  /// The whole validation data (as far as config.evaluation says), its batches dealt out to the ranks. Collective.
  EvaluationReport evaluate();

  /// Brings the shards of the working copy of all ranks together. Collective.
  void gather();

  /// Samples that one step takes.
  int64_t samples_per_step() const;
  /// Seconds of the last step spent waiting for the gradients of others.
  double exposed_seconds() const { return reducer_->exposed_seconds(); }

 private:
  /// Of the memory that computes.
  Communicator& device_communicator() {
    if (of_device_ != nullptr) return *of_device_;
    return staged_ != nullptr ? *staged_ : *communicator_;
  }
  /// Its loss goes to step_numbers_.
  void run_micro_batch(int64_t leaf, uint64_t first_sample, const Tensor& gradients);
  Batch host_batch(int64_t leaf, uint64_t first_sample) const;
  ForwardOptions forward_options(const Batch& batch);
  /// The step's losses where the objective compares features: first all features, gathered and compared, then each
  /// micro-batch with the gradient of its own. What a rank's only micro-batch recorded is kept in between.
  void run_compared(uint64_t first_sample);

  Communicator* communicator_;        ///< of host memory
  WorkRecorder* recorder_;            ///< may be null
  std::set<WorkRecorder::Key> warm_;  ///< for which a micro-batch has run
  bool recording_ = false;
  int64_t recorded_chunks_ = 0;           ///< up to here their gradients have been sent by what is recorded
  Communicator* of_device_;               ///< of the device's memory; may be null
  std::unique_ptr<Communicator> staged_;  ///< instead of it, where there is a device and more than one rank
  RunConfig config_;
  Objective* objective_;
  Device device_;
  std::unique_ptr<Memory> heap_;
  Context heap_context_;
  ParameterStore store_;
  int heads_ = 0;  ///< before model_, which sets it
  Transformer model_;
  Tensor rotary_table_;  ///< of all training passes
  MemoryPlan memory_plan_;
  std::unique_ptr<ShardedAdamW> optimizer_;
  std::unique_ptr<BucketReducer> reducer_;
  std::unique_ptr<StepNumbers> step_numbers_;
  std::unique_ptr<StaticArena> training_arena_;
  std::unique_ptr<StaticArena> evaluation_arena_;
  Tensor features_;  ///< f32 [micro-batches, rows, width], in host memory: of objectives that compare them
  std::unique_ptr<StaticArena> feature_arena_;     ///< of passes for features alone
  std::unique_ptr<StaticArena> comparison_arena_;  ///< of comparing them
};

}  // namespace tsugi
