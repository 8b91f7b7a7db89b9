#include "core/train/engine.h"

#include <cstring>

#include "core/checkpoint/parameter_ranges.h"
#include "core/nn/adapter.h"
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
  step_numbers_ = std::make_unique<StepNumbers>(heap_context_, optimizer_->trainable_layout(), communicator.rank(),
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

void Engine::gather() { optimizer_->gather(device_communicator()); }

int64_t Engine::samples_per_step() const {
  return int64_t{config_.batch().micro_batch()} * config_.batch().micro_batches();
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
