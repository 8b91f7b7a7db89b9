// What is learnt: an objective turns data into batches and a model's output into a loss. All the trainer knows of it is
// this interface; there is one training loop.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/checkpoint/parameter_ranges.h"
#include "core/data/batch.h"
#include "core/data/training_data.h"
#include "core/model/transformer.h"
#include "dist/communicator.h"

namespace tsugi {

/// Of a quantity whose mean is reported: its sum, and over how much.
struct Average {
  double sum = 0.0;
  double count = 0.0;
  void add(double value, double weight) {
    sum += value;
    count += weight;
  }
};

/// Sums over a validation batch.
struct EvaluationSum {
  LossSum loss;
  int64_t correct = 0;               ///< right predictions, where the objective predicts classes
  std::vector<Average> scores = {};  ///< as score_names() has them
};

/// What a comparison of features gives for a rank's own micro-batches.
struct FeatureLoss {
  std::vector<LossSum> losses;  ///< of each
  Tensor gradient;              ///< f32 [own micro-batches, rows, width]: of the sum of the losses of all ranks
  int64_t nearest = 0;          ///< own rows of which a right partner is the nearest
};

class Objective {
 public:
  virtual ~Objective() = default;

  virtual const char* name() const = 0;
  /// Tokens per sequence of its batches.
  virtual int64_t sequence() const = 0;
  /// Declares the tensors of its heads; called before the model declares its own, so that heads complete first.
  virtual void declare_heads(ParameterStore& store, const ModelConfig& config) {
    (void)store;
    (void)config;
  }
  /// False when its own heads take the place of the model's projection to the vocabulary.
  virtual bool uses_output_head() const { return true; }
  /// True when evaluate() counts right predictions.
  virtual bool has_accuracy() const { return false; }

  /// What evaluate() tells beside: shares between 0 and 1, and losses, whose names end in "_loss".
  virtual std::vector<std::string> score_names() const { return {}; }

  /// The part of a sequence's outputs that the vocabulary is scored for, to count FLOPs.
  virtual double scored_share() const { return 1.0; }
  /// The token files that it learns from; null where it learns from something else.
  virtual const TrainingData* training_data() const { return nullptr; }
  /// What it learns from in words, where that is nothing of the above.
  virtual std::string describe_data() const { return {}; }

  /// A batch of `rows` without content, as those below are: what a dry run needs. `documents`: what the run's
  /// configuration says of them.
  virtual Batch batch_shape(int64_t rows, Documents documents) const {
    return shape_of_batch(rows, sequence(), documents);
  }
  /// Global samples [first_sample, first_sample + count): a pure function of the index.
  virtual Batch training_batch(uint64_t first_sample, int64_t count) const = 0;
  /// Validation batches of `count` sequences, 0 when there is nothing to validate on; at most `limit` sequences if > 0.
  virtual int64_t validation_batches(int64_t count, int64_t limit) const = 0;
  virtual Batch validation_batch(int64_t index, int64_t count, int64_t limit) const = 0;

  /// The loss of a batch, with its backward pass on the tape. On a meta context the batch is not read.
  virtual LossSum loss(Tape& tape, const Transformer& model, const Batch& batch,
                       const ForwardOptions& options) const = 0;
  virtual EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
    return {loss(tape, model, batch, ForwardOptions{}), 0};
  }

  /// Whether loss() may be recorded as a CUDA graph: all that it reads lies in the batch and the model, and it forms
  /// one loss.
  virtual bool recordable() const { return true; }

  /// Objectives that compare samples with all others of the step, wherever they are: the width of the features by which
  /// they do. Their losses and gradients come from compare() then, and loss() is not asked in training. 0: none.
  virtual int64_t feature_width() const { return 0; }
  /// Rows that a sample takes in a batch: its views.
  virtual int64_t rows_per_sample() const { return 1; }
  /// Rows of features of a sample.
  virtual int64_t feature_rows() const { return rows_per_sample(); }
  /// f32 [samples of the batch · feature_rows, feature_width].
  virtual Variable features(Tape& tape, const Transformer& model, const Batch& batch,
                            const ForwardOptions& options) const;
  /// `all` f32 [micro-batches of the step, rows of features of each, feature_width], the same on all ranks: losses and
  /// gradients of the rank's own micro-batches. The step began at `first_sample`. Collective; `communicator` sends from
  /// where the context computes, as that of end_step() does.
  virtual FeatureLoss compare(const Context& context, Communicator& communicator, const Tensor& all,
                              uint64_t first_sample) const;

  /// Objectives that keep something beside the parameters (a queue, a second encoder). take_memory() is called once,
  /// when all parameters are declared, with memory for what lives long; start() when training begins and the weights
  /// are those it begins with, but not when it goes on from a checkpoint; end_step() when update number `update` is
  /// done and all ranks have the new weights (collective).
  virtual void take_memory(const Context& context, ParameterStore& store) { (void)context, (void)store; }
  virtual void start() {}
  virtual void end_step(const Context& context, Communicator& communicator, int64_t update) {
    (void)context, (void)communicator, (void)update;
  }
  /// What of that is part of checkpoints: whole tensors, the same on all ranks.
  virtual SavedState state() const { return {}; }
  /// Bytes of all of it.
  virtual int64_t state_bytes() const { return 0; }

  /// What must be equal on all ranks: names and contents of data files.
  virtual std::map<std::string, std::string> fingerprint() const = 0;
};

}  // namespace tsugi
