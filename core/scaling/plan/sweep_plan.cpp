#include "core/scaling/plan/sweep_plan.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>
#include <span>

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
  named.clear_logging();
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
    if (sweep_.budgets().empty()) fail("there are no budgets", "budgets { flops: 1e12 }");
    if (!sweep_.learning_rate().has_value())
      fail("learning_rate.value is required", "learning_rate { value: 6e-3 at_width: 64 width_power: -0.5 }");
    std::set<std::string> names;
    for (const SizeConfig& size : sweep_.sizes()) {
      if (!names.insert(size.name()).second) fail("two sizes are called \"" + size.name() + "\"");
      if (size.name().find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
          std::string::npos) {
        fail("size \"" + size.name() + "\": names are made of letters, digits and . _ -");
      }
    }
    for (const BudgetConfig& budget : sweep_.budgets()) add(budget);
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

  void add(const BudgetConfig& budget) {
    std::set<std::string> wanted(budget.sizes().begin(), budget.sizes().end());
    const bool all = wanted.empty();
    for (const SizeConfig& size : sweep_.sizes()) {
      if (!all && wanted.erase(size.name()) == 0) continue;
      for (int seed = 0; seed < budget.seeds(); ++seed) {
        add(budget, size, base_.seed() + static_cast<uint64_t>(seed));
      }
    }
    if (!wanted.empty())
      fail("budget " + shortest(budget.flops()) + " names no size of this sweep: " + *wanted.begin());
  }

  void add(const BudgetConfig& budget, const SizeConfig& size, uint64_t seed) {
    PlannedRun run;
    run.name = "c" + shortest(budget.flops()) + "-" + size.name() + "-s" + std::to_string(seed);
    run.size = size.name();
    run.budget = budget.flops();
    run.held_out = budget.held_out();
    run.config = configure(size, seed, run.name);
    check(run);
    count(run);
    const double per_step = run.flops / static_cast<double>(run.config.steps());
    const double steps = std::round(budget.flops() / per_step);
    if (steps < 1 || std::abs(steps * per_step / budget.flops() - 1) > kBudgetTolerance) {
      fail("budget " + shortest(budget.flops()) + ", size " + size.name() + ": " + shortest(budget.flops() / per_step) +
               " steps of " + shortest(per_step) + " FLOPs; no whole number of steps is within 1 % of it",
           "make the batch of " + sweep_.base() + " smaller, or the budget larger");
    }
    constexpr double kMostSteps = 1e12;  // as a run's configuration allows
    if (steps > kMostSteps) {
      fail("budget " + shortest(budget.flops()) + ", size " + size.name() + ": " + shortest(steps) +
               " steps, and no run has more than 1e12",
           "make the batch of " + sweep_.base() + " larger, or the budget smaller");
    }
    run.config.set_steps(static_cast<int64_t>(steps));
    run.config.mutable_schedule()->set_warmup_steps(static_cast<int64_t>(std::round(sweep_.warmup_fraction() * steps)));
    count(run);
    run.cost = run.flops;
    plan_.runs.push_back(std::move(run));
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

  /// Runs of one size and seed get one warm-up and WSD schedules; of two or more, all but the decays become segments.
  void plan_trunks() {
    std::map<std::pair<std::string, uint64_t>, std::vector<size_t>> trunks;
    for (size_t i = 0; i < plan_.runs.size(); ++i) {
      trunks[{plan_.runs[i].size, plan_.runs[i].config.seed()}].push_back(i);
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
        segment.name = "trunk-" + run.size + "-s" + std::to_string(run.config.seed()) + "-" + std::to_string(branch);
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

  RunConfig configure(const SizeConfig& size, uint64_t seed, const std::string& name) const {
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
        static_cast<float>(rule.value() * std::pow(ratio, rule.width_power())));
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
    run.flops = flops_per_token(config.model(), batch.sequence()).palm * run.tokens;
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
