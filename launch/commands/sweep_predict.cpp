#include <chrono>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/data/file.h"
#include "core/scaling/fit/fit_file.h"
#include "launch/commands/sweep.h"
#include "launch/sweep/fit_json.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct PredictCommand {
  std::string fit;
  std::string out;
  double n = RunPoint::kUnknown;
  double d = RunPoint::kUnknown;
  double c = RunPoint::kUnknown;
  double unique = RunPoint::kUnknown;
  double steps = RunPoint::kUnknown;
  double batch = RunPoint::kUnknown;
  bool json = false;
};

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm fields{};
  gmtime_r(&now, &fields);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &fields);
  return text;
}

/// Given all three, C must be about what N and D cost.
void require_consistent(const SweepRun& run, const ComputeCost& cost) {
  constexpr double kMost = 2.0;
  const double costs = cost.flops(run.n, run.d);
  const double times = run.c / costs;
  if (!(times > kMost || times < 1.0 / kMost)) return;
  throw Error(ExitCode::kUsage,
              "--c " + short_number(run.c) + " is not what --n and --d take: " + short_number(costs) + " FLOPs, " +
                  short_number(times > 1.0 ? times : 1.0 / times) + " times " + (times > 1.0 ? "less" : "more") + ". " +
                  cost_text(cost),
              "give two of the three");
}

/// The run to predict: as given, or the best one for a budget.
SweepRun target_run(const PredictCommand& command, const FitFile& file) {
  const Law& law = *file.fit.fit.law;
  SweepRun run;
  run.n = command.n;
  run.d = command.d;
  run.c = command.c;
  const bool wants_both = (law.inputs & (kInputN | kInputD)) == (kInputN | kInputD);
  if (std::isnan(run.n) && std::isnan(run.d) && wants_both && !std::isnan(run.c)) {
    run.n = allocate(law, file.fit.fit.theta, run.c, command.unique, file.cost).n;
  }
  if (std::isnan(run.d)) run.d = file.cost.tokens(run.c, run.n);
  if (std::isnan(run.n)) run.n = file.cost.parameters(run.c, run.d);
  if (std::isnan(run.c)) run.c = file.cost.flops(run.n, run.d);
  require_consistent(run, file.cost);
  run.unique = std::isnan(command.unique) ? run.d : command.unique;
  run.batch = command.batch;
  run.steps = std::isnan(command.steps) ? run.d / run.batch : command.steps;
  run.loss = 1.0;
  struct Needed {
    unsigned input;
    double value;
  };
  for (const Needed& one : {Needed{kInputN, run.n}, Needed{kInputD, run.d}, Needed{kInputC, run.c},
                            Needed{kInputSteps, run.steps}, Needed{kInputBatch, run.batch}}) {
    if ((law.inputs & one.input) != 0 && std::isnan(one.value)) {
      throw Error(ExitCode::kUsage,
                  std::string("form ") + law.name + " needs " + inputs_text(law.inputs) + " of the run to predict",
                  "--n N --d D, --c C for the best run of a budget, --unique-tokens U, --steps S --batch TOKENS");
    }
  }
  // The critical batch depends on the loss itself: the law's fixed point.
  for (int i = 0; i < 200; ++i) run.loss = file.fit.fit.predict(run);
  return run;
}

int run_predict(const PredictCommand& command) {
  const FitFile file = load_fit(command.fit);
  const Law& law = *file.fit.fit.law;
  const SweepRun run = target_run(command, file);
  const Prediction prediction = predict_loss(file.fit, run);
  nlohmann::ordered_json json;
  json["fit"] = {
      {"file", std::filesystem::path(command.fit).filename().string()}, {"hash", file.hash}, {"form", law.name}};
  json["time"] = utc_now();
  json["n"] = json_number(run.n);
  json["d"] = json_number(run.d);
  json["c"] = json_number(run.c);
  json["tokens_per_parameter"] = json_number(run.d / run.n);
  json["compute"] = cost_json(file.cost);
  json["loss"] = prediction.loss;
  json["level"] = file.fit.level;
  json["interval"] = json_interval(prediction.interval);
  const double reach = run.c / file.c.high;
  json["times_largest_fitted_c"] = json_number(reach);
  json["other_forms"] = nlohmann::ordered_json::array();
  for (const RivalForm& rival : file.rivals) {
    if (rival.law == &law || (rival.law->inputs & ~(law.inputs | kInputC | kInputUnique)) != 0) continue;
    Fit other;
    other.law = rival.law;
    other.theta = rival.theta;
    json["other_forms"].push_back({{"form", rival.law->name},
                                   {"loss", json_number(other.predict(run))},
                                   {"backtest_error", json_number(rival.backtest_error)}});
  }
  if ((law.inputs & (kInputN | kInputD)) == (kInputN | kInputD)) {
    json["best_at_this_budget"] = advice_json(advise(file.fit, run.c, file.c.high, command.unique, file.cost));
  }
  json["warnings"] = nlohmann::ordered_json::array();
  if (reach > 30.0) {
    json["warnings"].push_back("this run has " + short_number(reach) +
                               " times the compute of the largest fitted one: beyond ten times forms disagree");
  }
  if (file.fit.bootstrap.samples.empty()) json["warnings"].push_back("the fit has no bootstrap samples: no interval");
  if (!command.out.empty()) {
    // A prediction that could be replaced after the run would prove nothing.
    if (std::filesystem::exists(command.out)) {
      throw Error(ExitCode::kUsage, command.out + ": there is a prediction already", "write to another file");
    }
    write_file_durably(command.out, json.dump(2) + "\n");
  }
  if (command.json) {
    std::cout << json.dump() << std::endl;
    return 0;
  }
  std::cout << "n " << short_number(run.n) << ", d " << short_number(run.d) << ", " << short_number(run.c) << " FLOPs ("
            << short_number(reach) << " times the largest fitted)\n"
            << "loss " << short_number(prediction.loss) << ", " << short_number(100.0 * file.fit.level)
            << " % interval " << short_interval(prediction.interval) << "  (" << law.name << ", fit " << file.hash
            << ")\n"
            << cost_text(file.cost) << "\n";
  for (const auto& one : json["other_forms"]) {
    std::cout << "  " << one["form"].get<std::string>() << " says "
              << short_number(one["loss"].is_null() ? RunPoint::kUnknown : one["loss"].get<double>()) << "\n";
  }
  if (json.contains("best_at_this_budget")) {
    print_advice(std::cout, advise(file.fit, run.c, file.c.high, command.unique, file.cost));
  }
  for (const auto& one : json["warnings"]) std::cout << "warning: " << one.get<std::string>() << "\n";
  if (!command.out.empty()) std::cout << "written to " << command.out << "\n";
  return 0;
}

}  // namespace

void add_sweep_predict(Command sweep) {
  auto command = std::make_shared<PredictCommand>();
  Command app = sweep.subcommand("predict", "Write down the loss of a run before it is made");
  app.option("--fit", command->fit, "what sweep fit --out wrote").required();
  app.option("--n", command->n, "parameters, counted as in the fit").positive();
  app.option("--d", command->d, "training tokens").positive();
  app.option("--c", command->c, "FLOPs; without --n and --d the best run of that budget").positive();
  app.option("--unique-tokens", command->unique, "distinct tokens, for data_constrained").positive();
  app.option("--steps", command->steps, "optimizer steps, for kaplan_steps").positive();
  app.option("--batch", command->batch, "tokens per step, for kaplan_steps").positive();
  app.option("--out", command->out, "a file that is not there yet: the prediction, with time and hash of the fit");
  app.flag("--json", command->json, "print the result as one JSON object, and nothing else");
  app.run([command] { return run_predict(*command); });
}

}  // namespace tsugi
