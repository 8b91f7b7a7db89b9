#include "core/train/trainer.h"

#include <glog/logging.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>
#include <sstream>

#include "core/checkpoint/parameter_ranges.h"
#include "core/checkpoint/staged_work.h"
#include "core/checkpoint/state_copy.h"
#include "core/checkpoint/weight_folder.h"
#include "core/config/config.h"
#include "core/model/names.h"
#include "core/nn/adapter.h"
#include "core/optim/schedule.h"
#include "core/scaling/flops.h"
#include "core/scaling/machine_rate.h"
#include "core/train/agreement.h"
#include "core/train/product_choice.h"
#include "core/train/stop_signal.h"
#include "ops/base/error.h"
#include "ops/matmul/matmul.h"

namespace tsugi {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kFirstLoss = "validation loss before";

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double median(std::vector<double> values) {
  if (values.empty()) return 0.0;
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string exact_text(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

std::optional<double> number_of(const std::string& text) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Whether a run of `config` would have come to `step` just as that of `text` did: what differs has no part in updates
/// (names, evaluations, where it computes), or is a length or schedule that has not mattered yet.
bool has_same_past(const RunConfig& config, const std::string& text, int64_t step) {
  if (text == to_text(config)) return true;
  RunConfig other;
  try {
    parse_config(text, "the checkpoint's configuration", {}, other);
  } catch (const Error&) {
    return false;
  }
  for (int64_t i = 0; i < step; ++i) {
    if (learning_rate_at(config.optimizer(), config.schedule(), config.steps(), i) !=
        learning_rate_at(other.optimizer(), other.schedule(), other.steps(), i)) {
      return false;
    }
  }
  const auto updates = [](RunConfig one) {
    one.clear_name();
    one.clear_steps();
    one.clear_schedule();
    one.clear_evaluation();
    one.clear_checkpoint();
    one.clear_logging();
    one.clear_dist();
    return to_text(one);
  };
  return updates(config) == updates(other);
}

/// One run on this rank.
class TrainingRun {
 public:
  TrainingRun(Communicator& communicator, ThreadPool& pool, Objective& objective, const TrainerOptions& options)
      : communicator_(communicator),
        objective_(objective),
        options_(options),
        config_(options.config),
        engine_(pool, communicator, config_, objective, options.frozen, options.device, options.device_communicator,
                options.recorder) {
    if (on_other_device() || (keeps_files() && copies_state(options.device, config_.checkpoint()))) {
      state_copy_.emplace(engine_.context(),
                          copied_floats(options.device, engine_.store(), engine_.optimizer().layout(),
                                        communicator.rank(), config_.adapter()) +
                              saved_elements(state_share(objective.state(), communicator.size(), communicator.rank())));
    }
  }

  TrainerResult run();

 private:
  bool first() const { return communicator_.rank() == 0; }
  bool names_checkpoint() const { return options_.resume != "auto" && options_.resume != "never"; }
  bool keeps_files() const { return !options_.run_directory.empty(); }
  bool on_other_device() const { return options_.device.operators != nullptr; }
  bool saves_beside_training() const { return state_copy_ && config_.checkpoint().asynchronous(); }
  bool trains_adapter() const { return has_adapter(config_.adapter()); }
  void restore();
  void load_initial_weights();
  /// Calls load(ranges) with ranges that the host can write to, then brings them to the device.
  template <class F>
  void read_state(const std::vector<StateRange>& ranges, F&& load);
  /// What this rank keeps in checkpoints, or wants of them: `of_objective` is its part of the objective's state.
  SavedState saved_state(const SavedState& of_objective);
  std::string checkpoint_to_resume();
  void save();
  void end_saving();
  void saved();
  void evaluate();
  void report(const StepReport& step, double seconds);
  int64_t tokens_per_step() const {
    return engine_.samples_per_step() * objective_.rows_per_sample() * objective_.sequence();
  }

  Communicator& communicator_;
  Objective& objective_;
  const TrainerOptions& options_;
  RunConfig config_;
  Engine engine_;
  RunLease lease_;
  TrainerResult result_;
  std::vector<std::unique_ptr<MetricsSink>> sinks_;
  double machine_rate_ = 0.0;  ///< FLOP/s of all ranks' matrix products
  double flops_per_token_ = 0.0;
  int64_t saved_step_ = -1;
  std::optional<StateCopy> state_copy_;
  std::optional<StagedWork> saving_;  ///< the checkpoint that is being written beside training
  std::string saving_path_;
  Clock::time_point saving_since_;
  bool evaluation_due_ = false;  ///< put off by a stop
  std::string products_;         ///< the device's algorithms, as a table; of the checkpoint at first
};

std::string TrainingRun::checkpoint_to_resume() {
  if (names_checkpoint()) return options_.resume;
  if (!keeps_files()) return options_.start_from;
  std::vector<std::string> damaged;
  std::string found = find_checkpoint(communicator_, options_.run_directory, damaged);
  for (const std::string& what : damaged) LOG_IF(WARNING, first()) << "checkpoint passed over: " << what;
  if (options_.resume == "never") {
    if (found.empty() && damaged.empty()) return options_.start_from;
    throw Error(ExitCode::kUsage, options_.run_directory + " already has checkpoints",
                "choose another --out, or --resume auto to go on with it")
        .mark_on_all_ranks();
  }
  if (found.empty() && !damaged.empty()) {
    throw Error(ExitCode::kData, "no checkpoint of " + options_.run_directory + " is intact: " + damaged.front(),
                "to begin anew, choose another --out")
        .mark_on_all_ranks();
  }
  return found.empty() ? options_.start_from : found;
}

void TrainingRun::restore() {
  ShardedAdamW& optimizer = engine_.optimizer();
  optimizer.initialize(config_.seed());
  const std::string from = checkpoint_to_resume();
  int code = 0;
  std::string failure;
  try {
    const bool of_another_run = !from.empty() && from == options_.start_from;
    if (names_checkpoint() || of_another_run) verify_checkpoint(from);
    if (!from.empty()) {
      const SavedState saved = saved_state(objective_.state());
      RunState state;
      read_state(saved.ranges, [&](const auto& ranges) { state = load_checkpoint(from, saved.tensors, ranges); });
      if (of_another_run && state.step >= config_.steps()) {
        throw Error(ExitCode::kUsage, from + " is at step " + std::to_string(state.step) + " of a run of " +
                                          std::to_string(config_.steps()) + " steps: there is nothing left to train");
      }
      result_.start_step = state.step;
      result_.checkpoint = from;
      saved_step_ = state.step;
      evaluation_due_ = state.evaluation_due;
      if (state.facts.contains(kFirstLoss)) result_.first_loss = number_of(state.facts.at(kFirstLoss));
      LOG_IF(INFO, first()) << "goes on from " << from << " at step " << state.step;
      LOG_IF(WARNING, first() && !has_same_past(config_, state.config_text, state.step))
          << "the configuration differs from the checkpoint's; the result will differ from an undisturbed run";
      if (state.facts.contains(kProductsFact)) products_ = state.facts.at(kProductsFact);
      const std::string then = state.facts.contains("device") ? state.facts.at("device") : "CPU";
      const std::string here = on_other_device() ? options_.device.operators->describe() : "CPU";
      LOG_IF(WARNING, first() && then != here) << "the checkpoint was written on " << then << ", this run computes on "
                                               << here << "; the result will differ from an undisturbed run";
      for (const auto& [what, now] : objective_.fingerprint()) {
        LOG_IF(WARNING, first() && state.facts.contains(what) && state.facts.at(what) != now)
            << "the " << what << " differs from the checkpoint's; the result will differ from an undisturbed run";
      }
    }
    // An adapter's checkpoints do not hold what they adapt.
    if (!options_.initial_weights.empty() && (from.empty() || trains_adapter())) load_initial_weights();
  } catch (const Error& error) {
    code = static_cast<int>(error.code());
    failure = error.what();
  }
  agree_on_errors(communicator_, code, failure);
  optimizer.refresh_working();
  engine_.gather();
  if (from.empty()) objective_.start();
  result_.step = result_.start_step;
}

template <class F>
void TrainingRun::read_state(const std::vector<StateRange>& ranges, F&& load) {
  if (!on_other_device()) return load(ranges);
  load(state_copy_->places(ranges));
  state_copy_->put(ranges);
}

/// Adapters are not in there, and heads only where they are part of the model's body (BERT's pooler).
void TrainingRun::load_initial_weights() {
  const std::vector<SavedTensor> all = saved_tensors(engine_.store());
  std::vector<SavedTensor> tensors;
  std::vector<int> place(all.size(), -1);
  const std::string body = tensor_names(config_.model()).body;
  const WeightFolder folder(options_.initial_weights);
  for (size_t i = 0; i < all.size(); ++i) {
    if (is_adapter(all[i].name)) continue;
    const bool head = i < static_cast<size_t>(engine_.head_tensors());
    if (head && !(all[i].name.starts_with(body) && folder.has(all[i].name))) continue;
    place[i] = static_cast<int>(tensors.size());
    tensors.push_back(all[i]);
  }
  std::vector<StateRange> ranges = engine_.optimizer().ranges(false);
  std::erase_if(ranges, [&](const StateRange& one) { return place[static_cast<size_t>(one.tensor)] < 0; });
  for (StateRange& one : ranges) one.tensor = place[static_cast<size_t>(one.tensor)];
  read_state(ranges, [&](const auto& host) { load_weights(options_.initial_weights, tensors, host); });
}

SavedState TrainingRun::saved_state(const SavedState& of_objective) {
  std::vector<StateRange> ranges = engine_.optimizer().ranges(true);
  SavedState state = trains_adapter() ? adapter_state(engine_.store(), ranges)
                                      : SavedState{saved_tensors(engine_.store()), std::move(ranges)};
  append_state(state, of_objective);
  return state;
}

void TrainingRun::save() {
  if (!keeps_files() || saved_step_ == result_.step) return;
  end_saving();
  saving_since_ = Clock::now();
  for (const auto& sink : sinks_) sink->flush();
  RunState state;
  state.step = result_.step;
  state.next_sample = static_cast<uint64_t>(result_.step * engine_.samples_per_step());
  state.evaluation_due = evaluation_due_;
  state.config_text = to_text(config_);
  state.facts = objective_.fingerprint();
  state.facts["objective"] = objective_.name();
  if (on_other_device()) {
    state.facts["device"] = options_.device.operators->describe();
    if (!products_.empty()) state.facts[kProductsFact] = products_;
  } else {
    state.facts["bf16 products"] = matmul_bf16_path();
  }
  if (result_.first_loss) state.facts[kFirstLoss] = exact_text(*result_.first_loss);
  SavedState kept = saved_state(state_share(objective_.state(), communicator_.size(), communicator_.rank()));
  if (state_copy_) kept.ranges = state_copy_->take(kept.ranges);
  saving_.emplace();
  saving_path_ = add_saving(*saving_, communicator_, lease_, std::move(state), std::move(kept.tensors),
                            std::move(kept.ranges), options_.texts);
  add_retention(*saving_, communicator_, lease_, config_.checkpoint().keep());
  saved_step_ = result_.step;
  if (saves_beside_training()) {
    saving_->start();
  } else {
    saving_->run(communicator_);
    saved();
  }
}

/// Waits for the checkpoint that is being written.
void TrainingRun::end_saving() {
  if (!saving_) return;
  saving_->finish(communicator_);
  saved();
}

void TrainingRun::saved() {
  saving_.reset();
  result_.checkpoint = saving_path_;
  LOG_IF(INFO, first()) << "wrote " << saving_path_ << " in " << seconds_since(saving_since_) << " s"
                        << (saves_beside_training() ? " beside training" : "");
}

void TrainingRun::evaluate() {
  evaluation_due_ = false;
  result_.evaluation = engine_.evaluate();
  result_.scores = result_.evaluation.scores;
  if (options_.score) {
    const Scores asked = options_.score(communicator_, engine_.context(), engine_.model());
    result_.scores.insert(result_.scores.end(), asked.begin(), asked.end());
  }
  if (result_.evaluation.targets == 0) return;
  result_.evaluated = true;
  EvaluationMetrics metrics{result_.step, result_.evaluation.loss, std::nullopt, result_.scores};
  if (objective_.has_accuracy()) {
    metrics.accuracy =
        static_cast<double>(result_.evaluation.correct) / static_cast<double>(result_.evaluation.targets);
  }
  for (const auto& sink : sinks_) sink->evaluation(metrics);
}

void TrainingRun::report(const StepReport& step, double seconds) {
  if (sinks_.empty()) return;
  StepMetrics metrics;
  metrics.step = result_.step;
  metrics.steps = config_.steps();
  metrics.tokens = result_.step * tokens_per_step();
  metrics.loss = step.loss;
  metrics.learning_rate =
      static_cast<double>(learning_rate_at(config_.optimizer(), config_.schedule(), config_.steps(), result_.step - 1));
  metrics.gradient_norm = step.gradient_norm;
  metrics.seconds = seconds;
  metrics.tokens_per_second = static_cast<double>(tokens_per_step()) / seconds;
  metrics.mfu = metrics.tokens_per_second * flops_per_token_ / machine_rate_;
  metrics.exposed_seconds = engine_.exposed_seconds();
  for (const auto& sink : sinks_) sink->step(metrics);
}

TrainerResult TrainingRun::run() {
  std::map<std::string, std::string> facts = objective_.fingerprint();
  facts["config"] = to_text(config_);
  facts["binary"] = binary_fingerprint();
  facts["--resume"] = options_.resume;
  facts["--start-from"] = options_.start_from;
  require_agreement(communicator_, facts);
  if (keeps_files()) lease_ = take_lease(communicator_, options_.run_directory);
  restore();
  if (on_other_device()) {
    products_ = choose_products(communicator_, *options_.device.operators, config_.compute(),
                                {products_, result_.checkpoint}, options_.run_directory);
  }
  if (keeps_files()) record_start(communicator_, lease_, result_.start_step);

  machine_rate_ =
      all_reduce_sum(communicator_, {measure_matmul_rate(engine_.context(), engine_.store().compute_type())})[0];
  flops_per_token_ = flops_per_token(config_.model(), objective_.sequence(), objective_.scored_share()).palm;
  // A run that is complete already is evaluated again, but has nothing to report twice.
  const bool complete = result_.start_step >= config_.steps();
  if (first() && options_.make_sinks && !complete) sinks_ = options_.make_sinks(result_.start_step);

  if (evaluation_due_) evaluate();
  if (options_.evaluate_first && result_.start_step == 0) {
    evaluate();
    if (result_.evaluated) result_.first_loss = result_.evaluation.loss;
  }
  std::vector<double> speeds;
  while (result_.step < config_.steps() && !result_.interrupted) {
    const Clock::time_point start = Clock::now();
    const uint64_t first_sample = static_cast<uint64_t>(result_.step * engine_.samples_per_step());
    const float learning_rate =
        learning_rate_at(config_.optimizer(), config_.schedule(), config_.steps(), result_.step);
    const StepReport step = engine_.step(result_.step + 1, first_sample, learning_rate,
                                         {.stop = stop_requested(), .ready = saving_ && saving_->ready()});
    if (saving_ && step.ready) {
      saving_->advance(communicator_);
      if (!saving_->under_way()) saved();
    }
    if (!step.finite) {
      end_saving();
      std::ostringstream message;
      message << "diverged at step " << result_.step + 1 << ": loss " << step.loss << ", gradient norm "
              << step.gradient_norm;
      throw Error(ExitCode::kDiverged, message.str(),
                  "lower optimizer.learning_rate or lengthen schedule.warmup_steps; earlier checkpoints are intact")
          .mark_on_all_ranks();
    }
    ++result_.step;
    result_.loss = step.loss;
    result_.interrupted = step.stop && result_.step < config_.steps();
    const double seconds = seconds_since(start);
    speeds.push_back(static_cast<double>(tokens_per_step()) / seconds);
    report(step, seconds);

    const auto due = [&](int64_t every) { return every > 0 && result_.step % every == 0; };
    const bool last = result_.step == config_.steps();
    evaluation_due_ = due(config_.evaluation().every_steps()) && !last;
    if (evaluation_due_ && !result_.interrupted) evaluate();
    if (due(config_.checkpoint().every_steps()) || result_.interrupted) save();
  }
  if (!result_.interrupted) {
    evaluate();
    save();
  }
  end_saving();
  for (const auto& sink : sinks_) sink->flush();
  result_.tokens_per_second = median(std::move(speeds));
  result_.mfu = result_.tokens_per_second * flops_per_token_ / machine_rate_;
  return result_;
}

}  // namespace

TrainerResult train(Communicator& communicator, ThreadPool& pool, Objective& objective, const TrainerOptions& options) {
  return TrainingRun(communicator, pool, objective, options).run();
}

}  // namespace tsugi
