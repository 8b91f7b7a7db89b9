#include "core/train/engine.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/checkpoint/parameter_ranges.h"
#include "core/nn/adapter.h"
#include "core/objective/leaf_comparison.h"
#include "dist/staged_communicator.h"
#include "ops/base/error.h"
#include "ops/base/profile_range.h"
#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

/// The objective's heads come first: backward completes them first.
Transformer declare(ParameterStore& store, Objective& objective, const RunConfig& config, int& heads) {
  objective.declare_heads(store, config.model());
  heads = static_cast<int>(saved_tensors(store).size());
  return Transformer(config.model(), store, objective.uses_output_head(), config.adapter());
}

std::string pack(const std::vector<double>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double));
}

std::vector<double> unpack_doubles(const std::string& bytes) {
  std::vector<double> values(bytes.size() / sizeof(double));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(double));
  return values;
}

/// `mine` of all ranks, one after the other; `count_of(rank)` says how many there are.
std::vector<double> gather_doubles(Communicator& communicator, const std::vector<double>& mine,
                                   const std::function<int64_t(int)>& count_of) {
  std::vector<size_t> offsets{0};
  for (int rank = 0; rank < communicator.size(); ++rank) {
    offsets.push_back(offsets.back() + static_cast<size_t>(count_of(rank)) * sizeof(double));
  }
  std::vector<double> all(offsets.back() / sizeof(double));
  const auto rank = static_cast<size_t>(communicator.rank());
  CHECK_EQ(mine.size() * sizeof(double), offsets[rank + 1] - offsets[rank]);
  std::copy(mine.begin(), mine.end(), all.begin() + static_cast<ptrdiff_t>(offsets[rank] / sizeof(double)));
  communicator.all_gather(all.data(), std::move(offsets))->wait();
  return all;
}

}  // namespace

DType compute_type(const RunConfig& config) {
  return config.numerics().compute() == NumericsConfig::BF16 ? DType::kBF16 : DType::kF32;
}

Engine::Engine(ThreadPool& pool, Communicator& communicator, const RunConfig& config, Objective& objective,
               const std::function<bool(const ParameterInfo&)>& frozen, Device device, Communicator* of_device,
               WorkRecorder* recorder)
    : communicator_(&communicator),
      recorder_(recorder),
      of_device_(of_device),
      config_(config),
      objective_(&objective),
      device_(device),
      heap_(make_memory(device.operators)),
      heap_context_(device, pool, *heap_),
      model_(declare(store_, objective, config, heads_)) {
  if (communicator.size() > config.batch().micro_batches()) {
    throw Error(ExitCode::kUsage,
                "batch.micro_batches is " + std::to_string(config.batch().micro_batches()) + " but there are " +
                    std::to_string(communicator.size()) + " ranks: every rank needs at least one micro-batch",
                "set batch.micro_batches to a multiple of the ranks (and lower batch.micro_batch)")
        .mark_on_all_ranks();
  }
  if (recorder != nullptr && (communicator.size() > 1 || config.model().dropout() > 0.0f)) {
    throw Error(ExitCode::kUsage,
                communicator.size() > 1
                    ? "CUDA graphs are built for one rank: with more, gradients leave while backward runs"
                    : "CUDA graphs are built for model.dropout 0: a graph would drop the same elements "
                      "in every step",
                "leave out --graphs")
        .mark_on_all_ranks();
  }
  if (recorder != nullptr && !objective.recordable()) {
    throw Error(ExitCode::kUsage, "CUDA graphs are not built for objective " + std::string(objective.name()),
                "leave out --graphs")
        .mark_on_all_ranks();
  }
  if (device.operators != nullptr && communicator.size() > 1 && of_device == nullptr) {
    staged_ = make_staged_communicator(communicator, *device.operators);
  }
  if (frozen) store_.freeze(frozen);
  if (has_adapter(config.adapter())) freeze_all_but_adapters(store_, heads_ > 0 ? 1 : 0);  // heads are the first unit
  if (store_.trainable_chunks() == 0) {
    throw Error(ExitCode::kUsage, "all weights are frozen: there is nothing to train").mark_on_all_ranks();
  }
  store_.allocate(heap_context_, compute_type(config));
  objective.take_memory(heap_context_, store_);
  rotary_table_ = model_.rotary_positions(heap_context_, objective.sequence());
  ShardLayout layout = make_layout(store_, config.dist(), communicator.size());
  memory_plan_ = plan_memory(device, store_, model_, objective, config, communicator.size(), communicator.rank());
  optimizer_ = std::make_unique<ShardedAdamW>(heap_context_, store_, layout, communicator.rank(),
                                              config.optimizer().weight_decay());
  reducer_ = std::make_unique<BucketReducer>(heap_context_, device_communicator(), optimizer_->trainable_layout(),
                                             config.batch().micro_batches());
  // A step, its features alone and validation never run at the same time.
  const std::shared_ptr<Storage> block = heap_->allocate(static_cast<size_t>(memory_plan_.arenas()));
  training_arena_ =
      std::make_unique<StaticArena>(plan_training_arena(device, store_, model_, objective, config), block);
  if (objective.feature_width() > 0) {
    features_ = heap_context_.empty(shape_of_features(objective, config).shape(), DType::kF32);
    feature_arena_ = std::make_unique<StaticArena>(plan_feature_arena(device, model_, objective, config), block);
    comparison_arena_ = std::make_unique<StaticArena>(
        plan_comparison_arena(device, objective, config, communicator.size(), communicator.rank()), *heap_);
  }
  evaluation_arena_ = std::make_unique<StaticArena>(plan_evaluation_arena(device, model_, objective, config), block);
}

void Engine::gather() { optimizer_->gather(device_communicator(), true); }

int64_t Engine::samples_per_step() const {
  return int64_t{config_.batch().micro_batch()} * config_.batch().micro_batches();
}

Batch Engine::host_batch(int64_t leaf, uint64_t first_sample) const {
  const int64_t rows = config_.batch().micro_batch();
  return objective_->training_batch(first_sample + static_cast<uint64_t>(leaf * rows), rows);
}

ForwardOptions Engine::forward_options(const Batch& batch) {
  ForwardOptions options;
  options.dropout = {config_.model().dropout(), config_.seed(), batch.first_sample};
  options.recompute = config_.numerics().recompute();
  options.rotary_table = rotary_table_;
  if (recorder_ == nullptr) {  // what is recorded calls nobody
    options.on_unit_complete = [this](int unit) {
      reducer_->mark_complete(store_.unit_ends()[static_cast<size_t>(unit)]);
    };
  }
  return options;
}

std::vector<LossSum> Engine::run_compared(uint64_t first_sample) {
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
  return loss.losses;
}

LossSum Engine::run_micro_batch(int64_t leaf, uint64_t first_sample, const Tensor& gradients) {
  const Batch host = host_batch(leaf, first_sample);
  const ForwardOptions options = forward_options(host);
  training_arena_->restart();
  Tape tape(Context(device_, heap_context_.pool(), *training_arena_));
  const Batch batch = on_device(tape.context(), host);
  const auto compute = [&] {
    LossSum loss;
    {
      const ProfileRange phase("forward");
      loss = objective_->loss(tape, model_, batch, options);
    }
    const ProfileRange phase("backward");
    tape.backward();
    return loss;
  };
  const void* const key = gradients.raw();
  if (recorder_ == nullptr || warm_.insert(key).second) return compute();
  // The arena gives the same addresses to every micro-batch: the batch lies where the recorded one lay.
  if (!recorder_->has(key)) recorder_->record(key, compute);
  const ProfileRange phase("launch of a micro-batch");
  return recorder_->launch(key);
}

StepReport Engine::step(int64_t update, uint64_t first_sample, float learning_rate, const StepSignals& signals) {
  const ProfileRange whole("step");
  // Every rank sends: its signals, then loss and count of each of its leaves, then the square sums of its chunks.
  std::vector<double> mine{signals.stop ? 1.0 : 0.0, signals.ready ? 1.0 : 0.0};
  const auto heads = static_cast<int64_t>(mine.size());
  const LeafRange leaves = reducer_->leaves();
  std::vector<LossSum> losses;
  if (features_.defined()) losses = run_compared(first_sample);
  for (int64_t leaf = leaves.begin; leaf < leaves.end && !features_.defined(); ++leaf) {
    const Tensor gradients = reducer_->begin_leaf();
    store_.bind_gradients(gradients);
    losses.push_back(run_micro_batch(leaf, first_sample, gradients));
    reducer_->end_leaf();
  }
  for (const LossSum& loss : losses) {
    mine.push_back(loss.sum);
    mine.push_back(static_cast<double>(loss.count));
  }
  Tensor gradient;
  const ShardLayout& layout = optimizer_->trainable_layout();
  const auto leaves_of = [&](int rank) {
    return leaves_of_rank(config_.batch().micro_batches(), communicator_->size(), rank).leaves();
  };
  std::vector<double> all;  // of all ranks, one after the other
  {
    const ProfileRange phase("reduce gradients");
    gradient = reducer_->finish();
    const std::vector<double> squares = optimizer_->square_sums(gradient);
    mine.insert(mine.end(), squares.begin(), squares.end());
    all = gather_doubles(*communicator_, mine,
                         [&](int rank) { return heads + 2 * leaves_of(rank) + layout.local_chunks(rank); });
  }

  // Sums in the order of leaves and of chunks, whoever computed them.
  StepReport report;
  report.ready = true;
  double loss_sum = 0.0;
  std::vector<double> chunk_sums(static_cast<size_t>(layout.chunks()));
  auto next = all.begin();
  for (int rank = 0; rank < communicator_->size(); ++rank) {
    report.stop |= *next++ != 0.0;
    report.ready &= *next++ != 0.0;
    for (int64_t i = 0; i < leaves_of(rank); ++i) {
      loss_sum += *next++;
      report.targets += static_cast<int64_t>(*next++);
    }
    for (int bucket = 0; bucket < layout.buckets(); ++bucket) {
      const ChunkRange shard = layout.shard(bucket, rank);
      for (int64_t chunk = shard.begin; chunk < shard.end; ++chunk) chunk_sums[static_cast<size_t>(chunk)] = *next++;
    }
  }
  double square_sum = 0.0;
  for (const double sum : chunk_sums) square_sum += sum;

  const double targets = static_cast<double>(std::max<int64_t>(report.targets, 1));
  report.loss = loss_sum / targets;
  report.gradient_norm = std::sqrt(square_sum) / targets;
  report.finite = std::isfinite(report.loss) && std::isfinite(report.gradient_norm);
  if (!report.finite) return report;

  const OptimizerConfig& optimizer = config_.optimizer();
  double scale = 1.0 / targets;
  if (optimizer.clip_norm() > 0.0f && report.gradient_norm > static_cast<double>(optimizer.clip_norm())) {
    scale *= static_cast<double>(optimizer.clip_norm()) / report.gradient_norm;
  }
  AdamWStep adamw;
  adamw.learning_rate = learning_rate;
  adamw.beta1 = optimizer.beta1();
  adamw.beta2 = optimizer.beta2();
  adamw.epsilon = optimizer.epsilon();
  adamw.step = update;
  adamw.gradient_scale = static_cast<float>(scale);
  {
    const ProfileRange phase("optimizer");
    optimizer_->step(adamw, gradient);
  }
  const ProfileRange phase("gather parameters");
  optimizer_->gather(device_communicator(), false);
  objective_->end_step(heap_context_, device_communicator(), update);
  return report;
}

EvaluationReport Engine::evaluate() {
  const ProfileRange phase("evaluation");
  const int64_t rows = config_.batch().micro_batch();
  const int64_t limit = config_.evaluation().sequences();
  const int64_t batches = objective_->validation_batches(rows, limit);
  const int ranks = communicator_->size();
  const std::vector<std::string> names = objective_->score_names();
  const auto numbers = static_cast<int64_t>(3 + 2 * names.size());  // of each batch
  std::vector<double> mine;
  for (int64_t index = communicator_->rank(); index < batches; index += ranks) {
    const Batch batch = objective_->validation_batch(index, rows, limit);
    evaluation_arena_->restart();
    Tape tape(Context(device_, heap_context_.pool(), *evaluation_arena_), false);
    const EvaluationSum sum = objective_->evaluate(tape, model_, on_device(tape.context(), batch));
    mine.insert(mine.end(), {sum.loss.sum, static_cast<double>(sum.loss.count), static_cast<double>(sum.correct)});
    CHECK_EQ(sum.scores.size(), names.size());
    for (const Average& score : sum.scores) mine.insert(mine.end(), {score.sum, score.count});
  }
  const std::vector<std::string> all = communicator_->all_gather_strings(pack(mine));
  std::vector<std::vector<double>> by_rank;
  for (const std::string& bytes : all) by_rank.push_back(unpack_doubles(bytes));

  EvaluationReport report;
  double loss = 0.0;
  std::vector<Average> scores(names.size());
  for (int64_t index = 0; index < batches; ++index) {
    const double* sums = by_rank[static_cast<size_t>(index % ranks)].data() + numbers * (index / ranks);
    loss += sums[0];
    report.targets += static_cast<int64_t>(sums[1]);
    report.correct += static_cast<int64_t>(sums[2]);
    for (size_t i = 0; i < scores.size(); ++i) scores[i].add(sums[3 + 2 * i], sums[4 + 2 * i]);
  }
  for (size_t i = 0; i < scores.size(); ++i) {
    if (scores[i].count > 0.0) report.scores.emplace_back(names[i], scores[i].sum / scores[i].count);
  }
  report.loss = loss / static_cast<double>(std::max<int64_t>(report.targets, 1));
  return report;
}

}  // namespace tsugi
