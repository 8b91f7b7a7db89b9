#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "launch/commands/sweep.h"
#include "launch/sweep/local_executor.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct SweepCommand {
  std::string config;
  std::vector<std::string> overrides;
  std::string out;
  int jobs = 0;
  bool json = false;
};

void add_sweep_file(CLI::App& command, SweepCommand& options) {
  command.add_option("--config", options.config, "sweep file (launch/recipes/sweeps/*.textproto)")->required();
  command.add_option("--set", options.overrides, "change a field of the base configuration: data.train=data/tokens")
      ->take_all();
  command.add_flag("--json", options.json, "print the result as one JSON object, and nothing else");
}

std::string program_path() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

void print_plan(const SweepPlan& plan) {
  std::printf("%-28s %11s %11s %11s %7s %10s %8s %9s\n", "run", "parameters", "N", "D", "D/N", "FLOPs", "steps",
              "rate");
  for (const PlannedRun& run : plan.runs) {
    std::printf("%-28s %11lld %11lld %11.4g %7.4g %10.3e %8lld %9.2e%s\n", run.name.c_str(),
                static_cast<long long>(run.parameters), static_cast<long long>(run.parameters_in_products), run.tokens,
                run.tokens / static_cast<double>(run.parameters_in_products), run.flops,
                static_cast<long long>(run.config.steps()), run.config.optimizer().learning_rate(),
                run.held_out ? "  held out" : "");
  }
  std::printf("%zu runs, %.3e FLOPs: an hour on %.2g GFLOP/s\n", plan.runs.size(), plan.flops, plan.flops / 3600 / 1e9);
}

void plan(const SweepCommand& options) {
  const LoadedSweep loaded = load_sweep(options.config, options.overrides);
  if (!options.json) return print_plan(loaded.plan);
  nlohmann::ordered_json json{{"name", loaded.sweep.name()}, {"flops", loaded.plan.flops}};
  json["runs"] = nlohmann::ordered_json::array();
  for (const PlannedRun& run : loaded.plan.runs) json["runs"].push_back(run_json(run));
  std::cout << json.dump() << std::endl;
}

int run(const SweepCommand& options) {
  const LoadedSweep loaded = load_sweep(options.config, options.overrides);
  std::filesystem::create_directories(options.out);
  const SweepFolder folder(options.out);
  folder.write_plan(loaded.plan);
  const ExecutionSummary summary = execute_locally(folder, loaded.plan, {options.jobs, program_path(), options.json});
  const std::string csv = folder.write_csv(loaded.plan);
  if (options.json) {
    std::cout << nlohmann::ordered_json{{"runs", loaded.plan.runs.size()},    {"done", summary.done},
                                        {"diverged", summary.diverged},       {"failed", summary.failed},
                                        {"interrupted", summary.interrupted}, {"csv", csv}}
                     .dump()
              << std::endl;
  } else if (summary.interrupted) {
    std::cout << "stopped as asked; run the same command again to go on\n";
  } else {
    std::cout << csv << "\nnext: tsugi sweep fit --csv " << csv
              << " --where 'status == \"done\"' --hold-out 'held_out == 1' --form chinchilla\n";
  }
  if (summary.failed > 0) {
    throw Error(ExitCode::kInputOutput,
                std::to_string(summary.failed) + " runs failed; their logs are " + options.out + "/runs/*/log",
                "the same command tries them again");
  }
  return static_cast<int>(summary.interrupted ? ExitCode::kInterrupted : ExitCode::kDone);
}

void status(const SweepCommand& options) {
  const LoadedSweep loaded = load_sweep(options.config, options.overrides);
  const SweepFolder folder(options.out);
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  double flops = 0.0;
  for (const PlannedRun& run : loaded.plan.runs) {
    const std::optional<RunResult> ended = folder.result(run);
    const int64_t step = ended ? run.config.steps() : std::min(folder.step(run), run.config.steps());
    const std::string state = ended                 ? (ended->diverged ? "diverged" : "done")
                              : folder.running(run) ? "running"
                              : step > 0            ? "stopped"
                                                    : "waiting";
    flops += run.flops * static_cast<double>(step) / static_cast<double>(run.config.steps());
    json.push_back(
        {{"name", run.name}, {"id", run.id}, {"state", state}, {"step", step}, {"steps", run.config.steps()}});
    if (ended && !ended->diverged) json.back()["loss"] = ended->loss;
    if (options.json) continue;
    std::printf("%-28s %-9s %8lld / %-8lld", run.name.c_str(), state.c_str(), static_cast<long long>(step),
                static_cast<long long>(run.config.steps()));
    if (ended && !ended->diverged) std::printf("  loss %.4f", ended->loss);
    std::printf("\n");
  }
  if (options.json) {
    std::cout << nlohmann::ordered_json{{"share", flops / loaded.plan.flops}, {"runs", json}}.dump() << std::endl;
  } else {
    std::printf("%.1f %% of %.3e FLOPs\n", 100 * flops / loaded.plan.flops, loaded.plan.flops);
  }
}

}  // namespace

void add_sweep_run(CLI::App& sweep, int& exit_code) {
  auto options = std::make_shared<SweepCommand>();
  CLI::App* planning = sweep.add_subcommand("plan", "The runs of a sweep file: sizes, steps from exact FLOPs, cost");
  add_sweep_file(*planning, *options);
  planning->callback([options] { plan(*options); });

  CLI::App* running = sweep.add_subcommand(
      "run", "Train the runs of a sweep file that have not ended, one thread each, side by side on this host");
  add_sweep_file(*running, *options);
  running->add_option("--out", options->out, "the sweep's folder")->required();
  running->add_option("--jobs", options->jobs, "runs side by side; 0: one for each CPU")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  running->callback([options, &exit_code] { exit_code = run(*options); });

  CLI::App* watching = sweep.add_subcommand("status", "How far the runs of a sweep are");
  add_sweep_file(*watching, *options);
  watching->add_option("--out", options->out, "the sweep's folder")->required();
  watching->callback([options] { status(*options); });
}

}  // namespace tsugi
