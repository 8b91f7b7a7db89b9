#include "core/scaling/plan/sweep_plan.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <set>
#include <span>
#include <tuple>

#include "core/config/config.h"
#include "core/config/limits.h"
#include "core/data/hash.h"
#include "core/scaling/flops.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

/// How far a run's FLOPs may be from its budget: steps are whole.
constexpr double kBudgetTolerance = 0.01;

std::string shortest(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

std::string hash_digits(const std::string& text) {
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx",
                static_cast<unsigned long long>(hash64(std::as_bytes(std::span(text)))));
  return digits;
}

std::string identity(const RunConfig& config, const std::map<std::string, std::string>& fingerprint) {
  RunConfig named = config;
  named.clear_name();  // what a run is called changes nothing
  named.clear_dist();  // nor does where it runs: all gives the same bits
  named.mutable_compute()->clear_share_devices();
  named.clear_logging();
  // Fields that came later change no known run while they are at their presets.
  if (named.compute().attention() == ComputeConfig::MMA) named.mutable_compute()->clear_attention();
  if (named.compute().products() == ComputeConfig::TIMED) named.mutable_compute()->clear_products();
  std::string text = to_text(named);
  for (const auto& [what, value] : fingerprint) text += what + "=" + value + "\n";
  return hash_digits(text);
}

class Planner {
 public:
  Planner(const SweepConfig& sweep, const std::string& origin, const RunConfig& base,
          const std::map<std::string, std::string>& fingerprint, const DownstreamFacts& downstream)
      : sweep_(sweep), origin_(origin), base_(base), fingerprint_(fingerprint), downstream_(downstream) {}

  SweepPlan plan() {
    if (sweep_.sizes().empty()) fail("there are no sizes", "sizes { name: \"w64\" layers: 2 heads: 2 width: 64 }");
    if (sweep_.budgets().empty() && sweep_.ladders().empty())
      fail("there are no budgets", "budgets { flops: 1e12 }, or ladders { tokens_per_parameter: 20 }");
    if (!sweep_.learning_rate().has_value() && sweep_.grid().learning_rates().empty())
      fail("learning_rate.value is required", "learning_rate { value: 6e-3 at_width: 64 width_power: -0.5 }");
    std::set<std::string> names;
    for (const SizeConfig& size : sweep_.sizes()) {
      if (!names.insert(size.name()).second) fail("two sizes are called \"" + size.name() + "\"");
      if (size.name().find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
          std::string::npos) {
        fail("size \"" + size.name() + "\": names are made of letters, digits and . _ -");
      }
    }
    add_groups();
    if (std::ranges::all_of(plan_.runs, &PlannedRun::held_out)) {
      fail("every run is held out, and none is left to fit",
           "take held_out from the smaller budgets; hold out one that is at least 2.4 times the largest of them");
    }
    if (sweep_.has_decay_fraction()) plan_trunks();
    for (PlannedRun& run : plan_.runs) complete(run);
    for (const PlannedSegment& segment : plan_.segments) plan_.flops += segment.flops;
    if (sweep_.most_flops() > 0 && plan_.flops > sweep_.most_flops()) {
      fail("the runs take " + shortest(plan_.flops) +
           " FLOPs in all, over most_flops: " + shortest(sweep_.most_flops()));
    }
    return std::move(plan_);
  }

 private:
  [[noreturn]] void fail(const std::string& reason, const std::string& hint = {}) const {
    throw Error(ExitCode::kUsage, origin_ + ": " + reason, hint);
  }

  /// What runs have in common: a budget, or tokens per parameter.
  struct Target {
    std::string label;  ///< how names begin
    std::string text;   ///< for messages
    double flops = 0.0;
    double ratio = 0.0;  ///< of a ladder; then there is no budget
    bool held_out = false;
  };
  /// One point of the grid; nothing where the rules hold.
  struct Setting {
    std::optional<double> learning_rate;
    std::optional<int64_t> batch_tokens;
    std::string label() const {
      return (learning_rate ? "-lr" + shortest(*learning_rate) : "") +
             (batch_tokens ? "-b" + std::to_string(*batch_tokens) : "");
    }
  };

  std::vector<Setting> settings() const {
    std::vector<Setting> all(1);
    const auto cross = [&all](const auto& values, auto member) {
      if (values.empty()) return;
      std::vector<Setting> crossed;
      for (const Setting& one : all) {
        for (const auto value : values) {
          crossed.push_back(one);
          crossed.back().*member = value;
        }
      }
      all = std::move(crossed);
    };
    cross(sweep_.grid().learning_rates(), &Setting::learning_rate);
    cross(sweep_.grid().batch_tokens(), &Setting::batch_tokens);
    return all;
  }

  /// `group`: a budget or a ladder.
  template <class Group>
  void add(const Group& group, const Target& target) {
    std::set<std::string> wanted(group.sizes().begin(), group.sizes().end());
    const bool all = wanted.empty();
    for (const SizeConfig& size : sweep_.sizes()) {
      if (!all && wanted.erase(size.name()) == 0) continue;
      for (int seed = 0; seed < group.seeds(); ++seed) {
        for (const Setting& setting : settings()) {
          add(target, size, base_.seed() + static_cast<uint64_t>(seed), setting);
        }
      }
    }
    if (!wanted.empty()) fail(target.text + " names no size of this sweep: " + *wanted.begin());
  }

  void add_groups() {
    for (const BudgetConfig& budget : sweep_.budgets()) {
      const std::string value = shortest(budget.flops());
      add(budget, {"c" + value, "budget " + value, budget.flops(), 0.0, budget.held_out()});
    }
    for (const LadderConfig& ladder : sweep_.ladders()) {
      if (ladder.tokens_per_parameter().empty())
        fail("a ladder has no tokens_per_parameter", "ladders { tokens_per_parameter: 10 tokens_per_parameter: 20 }");
      for (const double ratio : ladder.tokens_per_parameter()) {
        const std::string value = shortest(ratio);
        add(ladder, {"r" + value, "tokens_per_parameter " + value, 0.0, ratio, ladder.held_out()});
      }
    }
  }

  void add(const Target& target, const SizeConfig& size, uint64_t seed, const Setting& setting) {
    PlannedRun run;
    run.setting = setting.label();
    run.name = target.label + "-" + size.name() + "-s" + std::to_string(seed) + run.setting;
    run.size = size.name();
    run.ratio = target.ratio;
    run.held_out = target.held_out;
    run.config = configure(size, seed, run.name, setting);
    check(run);
    count(run);
    const double per_token = run.flops / run.tokens;
    const double wanted =
        target.ratio > 0.0 ? target.ratio * static_cast<double>(run.parameters_in_products) : target.flops / per_token;
    set_batch(run, wanted, wanted * per_token, setting);
    const double per_step = run.tokens / static_cast<double>(run.config.steps());
    const double steps = std::round(wanted / per_step);
    const std::string place = target.text + ", size " + size.name() + ": ";
    if (steps < 1 || std::abs(steps * per_step / wanted - 1) > kBudgetTolerance) {
      fail(place + shortest(wanted / per_step) + " steps of " + shortest(per_step * per_token) +
               " FLOPs; no whole number of steps is within 1 % of it",
           "make the batch of " + sweep_.base() + " smaller, or the " + (target.ratio > 0.0 ? "ratio" : "budget") +
               " larger");
    }
    constexpr double kMostSteps = 1e12;  // as a run's configuration allows
    if (steps > kMostSteps) {
      fail(place + shortest(steps) + " steps, and no run has more than 1e12",
           "make the batch of " + sweep_.base() + " larger, or the " + (target.ratio > 0.0 ? "ratio" : "budget") +
               " smaller");
    }
    run.config.set_steps(static_cast<int64_t>(steps));
    run.config.mutable_schedule()->set_warmup_steps(static_cast<int64_t>(std::round(sweep_.warmup_fraction() * steps)));
    count(run);
    run.budget = target.ratio > 0.0 ? run.flops : target.flops;
    run.cost = run.flops;
    plan_.runs.push_back(std::move(run));
  }

  /// Micro-batches per step by the grid or the rule, for a run of so many tokens and FLOPs.
  void set_batch(PlannedRun& run, double tokens, double flops, const Setting& setting) const {
    if (!setting.batch_tokens && sweep_.batch().coefficient() == 0) return;
    BatchConfig& batch = *run.config.mutable_batch();
    const int64_t micro = int64_t{batch.sequence()} * batch.micro_batch();
    constexpr double kMostMicroBatches = 65536;
    double count_of = 0.0;
    if (setting.batch_tokens) {
      if (*setting.batch_tokens % micro != 0) {
        fail("grid.batch_tokens: " + std::to_string(*setting.batch_tokens) + " is no multiple of a micro-batch's " +
                 std::to_string(micro) + " tokens",
             "take multiples, or make batch.micro_batch of " + sweep_.base() + " smaller");
      }
      const int64_t whole = *setting.batch_tokens / micro;
      count_of = static_cast<double>(whole);
    } else {
      const BatchRule& rule = sweep_.batch();
      const double of_rule =
          rule.coefficient() * std::pow(flops, rule.flops_power()) * std::pow(tokens, rule.tokens_power());
      count_of = std::max(1.0, std::round(of_rule / static_cast<double>(micro)));
    }
    if (!(count_of <= kMostMicroBatches)) {
      fail("run " + run.name + ": a batch of " + shortest(count_of) + " micro-batches, and no step has more than 65536",
           "make batch.micro_batch of " + sweep_.base() + " larger, or the batch smaller");
    }
    batch.set_micro_batches(static_cast<int32_t>(count_of));
    check(run);
    count(run);
  }

  /// Once it is known what it shares with others.
  void complete(PlannedRun& run) {
    run.id = identity(run.config, fingerprint_);
    const auto [other, fresh] = ids_.emplace(run.id, run.name);
    if (!fresh) fail("runs " + other->second + " and " + run.name + " are the same run");
    if (!names_.insert(run.name).second) fail("two different runs are called " + run.name);
    if (!sweep_.downstream().train().empty()) {
      DownstreamConfig task = sweep_.downstream();
      task.clear_train();  // where the files lie changes nothing
      task.clear_validation();
      run.downstream_id = hash_digits(run.id + to_text(task) + downstream_.fingerprint);
      const int64_t context = run.config.model().context();
      run.downstream_flops = task.epochs() * static_cast<double>(downstream_.examples * context) *
                             flops_per_token(run.config.model(), context).palm;
    }
    plan_.flops += run.cost + run.downstream_flops;
    plan_.flops_apart += run.flops + run.downstream_flops;
  }

  /// Runs of one size, seed, setting and batch get one warm-up and WSD schedules; of two or more, all but the decays
  /// become segments.
  void plan_trunks() {
    std::map<std::tuple<std::string, uint64_t, std::string, int>, std::vector<size_t>> trunks;
    for (size_t i = 0; i < plan_.runs.size(); ++i) {
      const PlannedRun& run = plan_.runs[i];
      trunks[{run.size, run.config.seed(), run.setting, run.config.batch().micro_batches()}].push_back(i);
    }
    for (auto& [of, runs] : trunks) {
      std::ranges::stable_sort(runs, {}, [&](size_t i) { return plan_.runs[i].config.steps(); });
      const int64_t warmup = plan_.runs[runs.front()].config.schedule().warmup_steps();
      for (const size_t i : runs) {
        RunConfig& config = plan_.runs[i].config;
        const double decay = std::round(sweep_.decay_fraction() * static_cast<double>(config.steps()));
        ScheduleConfig& schedule = *config.mutable_schedule();
        schedule.set_kind(ScheduleConfig::WSD);
        schedule.set_warmup_steps(warmup);
        schedule.set_decay_steps(std::max<int64_t>(static_cast<int64_t>(decay), 1));
        if (warmup + schedule.decay_steps() > config.steps()) {
          fail("run " + plan_.runs[i].name + ": " + std::to_string(warmup) + " steps of warm-up and " +
                   std::to_string(schedule.decay_steps()) + " of decay are more than its " +
                   std::to_string(config.steps()) + " steps",
               "lower warmup_fraction or decay_fraction");
        }
      }
      if (runs.size() > 1) branch_off(runs);
    }
  }

  /// `runs` ascend in steps.
  void branch_off(const std::vector<size_t>& runs) {
    int before = -1;
    int64_t at = 0;
    for (const size_t i : runs) {
      PlannedRun& run = plan_.runs[i];
      const int64_t branch = run.config.steps() - run.config.schedule().decay_steps();
      const double per_step = run.flops / static_cast<double>(run.config.steps());
      if (branch > at) {
        PlannedSegment segment;
        segment.name =
            "trunk-" + run.size + "-s" + std::to_string(run.config.seed()) + run.setting + "-" + std::to_string(branch);
        segment.config = run.config;
        segment.config.set_name(segment.name);
        segment.config.set_steps(branch);
        segment.config.mutable_schedule()->set_kind(ScheduleConfig::CONSTANT);
        segment.config.mutable_schedule()->set_decay_steps(0);
        // Nobody asks how good a trunk is.
        segment.config.mutable_evaluation()->set_every_steps(0);
        segment.config.mutable_evaluation()->set_sequences(1);
        segment.config.mutable_evaluation()->clear_multiple_choice();
        segment.id = identity(segment.config, fingerprint_);
        segment.first_step = at;
        segment.before = before;
        segment.flops = per_step * static_cast<double>(branch - at);
        before = static_cast<int>(plan_.segments.size());
        at = branch;
        plan_.segments.push_back(std::move(segment));
      }
      run.segment = before;
      run.first_step = at;
      run.cost = per_step * static_cast<double>(run.config.steps() - at);
    }
  }

  RunConfig configure(const SizeConfig& size, uint64_t seed, const std::string& name, const Setting& setting) const {
    const LearningRateRule& rule = sweep_.learning_rate();
    RunConfig config = base_;
    config.set_name(name);
    config.set_seed(seed);
    config.mutable_schedule()->set_warmup_steps(0);  // until the steps are known
    config.mutable_model()->set_layers(size.layers());
    config.mutable_model()->set_heads(size.heads());
    config.mutable_model()->set_width(size.width());
    if (size.has_mlp_width()) config.mutable_model()->set_mlp_width(size.mlp_width());
    const double ratio = static_cast<double>(size.width()) / rule.at_width();
    config.mutable_optimizer()->set_learning_rate(
        static_cast<float>(setting.learning_rate.value_or(rule.value() * std::pow(ratio, rule.width_power()))));
    return config;
  }

  void check(PlannedRun& run) const {
    try {
      check_limits(run.config, {"run " + run.name, nullptr, {}});
      validate_run(run.config);
    } catch (const Error& error) {
      throw Error(error.code(), origin_ + ": size " + run.size + ": " + error.what(), error.hint());
    }
  }

  static void count(PlannedRun& run) {
    const RunConfig& config = run.config;
    const ParameterCount parameters = count_parameters(config.model());
    run.parameters = parameters.total;
    run.parameters_in_products = parameters.in_products;
    run.parameters_in_blocks = parameters.in_products - config.model().vocabulary() * config.model().width();
    const BatchConfig& batch = config.batch();
    run.tokens = static_cast<double>(config.steps()) * batch.sequence() * batch.micro_batch() * batch.micro_batches();
    const FlopsPerToken per_token = flops_per_token(config.model(), batch.sequence());
    run.flops = per_token.palm * run.tokens;
    run.flops_causal = per_token.causal * run.tokens;
    run.flops_without_embeddings = training_flops(static_cast<double>(run.parameters_in_blocks), run.tokens);
    run.flops_6nd = training_flops(static_cast<double>(run.parameters_in_products), run.tokens);
  }

  const SweepConfig& sweep_;
  const std::string& origin_;
  const RunConfig& base_;
  const std::map<std::string, std::string>& fingerprint_;
  const DownstreamFacts& downstream_;
  SweepPlan plan_;
  std::map<std::string, std::string> ids_;
  std::set<std::string> names_;
};

}  // namespace

SweepPlan plan_sweep(const SweepConfig& sweep, const std::string& origin, const RunConfig& base,
                     const std::map<std::string, std::string>& fingerprint, const DownstreamFacts& downstream) {
  return Planner(sweep, origin, base, fingerprint, downstream).plan();
}

}  // namespace tsugi
