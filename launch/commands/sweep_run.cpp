#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "launch/commands/sweep.h"
#include "launch/commands/sweep_slurm.h"
#include "launch/sweep/local_executor.h"
#include "launch/sweep/slurm_submission.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct SweepCommand {
  std::string config;
  std::vector<std::string> overrides;
  std::string out;
  std::string executor = "local";
  int threads = 1;
  std::string launcher;
  std::vector<std::string> only;
  SlurmOptions slurm;
  bool json = false;
};

void add_sweep_file(Command command, SweepCommand& options) {
  command.option("--config", options.config, "sweep file (launch/recipes/sweeps/*.textproto)").required();
  command.option("--set", options.overrides, "change a field of the base configuration: data.train=data/tokens")
      .take_all();
  command.flag("--json", options.json, "print the result as one JSON object, and nothing else");
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

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

int run_locally(const SweepCommand& options, const LoadedSweep& loaded, const SweepFolder& folder) {
  LocalExecution execution;
  execution.jobs = options.slurm.jobs.value_or(0);
  execution.threads = options.threads;
  execution.program = program_path();
  execution.launcher = words(options.launcher);
  execution.only = options.only;
  execution.quiet = options.json;
  const ExecutionSummary summary = execute_locally(folder, loaded.plan, execution);
  const std::string csv = folder.write_csv(loaded.plan);
  if (options.json) {
    std::cout << nlohmann::ordered_json{{"runs", loaded.plan.runs.size()},
                                        {"done", summary.done},
                                        {"diverged", summary.diverged},
                                        {"failed", summary.failed},
                                        {"left", summary.left},
                                        {"interrupted", summary.interrupted},
                                        {"csv", csv}}
                     .dump()
              << std::endl;
  } else if (summary.interrupted) {
    std::cout << "stopped as asked; run the same command again to go on\n";
  } else if (!options.only.empty()) {
    if (summary.left > 0) std::cout << summary.left << " runs are left to the launcher that trains them\n";
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

int run(const SweepCommand& options) {
  const bool slurm = options.executor == "slurm";
  if (!slurm) options.slurm.refuse_without_slurm();
  if (slurm && (!options.only.empty() || !options.launcher.empty() || options.threads != 1)) {
    throw Error(ExitCode::kUsage, "--only, --launcher and --threads are for --executor local",
                "Slurm's tasks get them from the script; see --ranks, --cpus-per-rank and --jobs");
  }
  const LoadedSweep loaded = load_sweep(options.config, options.overrides);
  const SweepFolder folder(options.out);
  if (slurm) return run_in_slurm(options.slurm, options.config, loaded, folder, program_path(), options.json);
  std::filesystem::create_directories(options.out);
  folder.write_plan(loaded.plan);
  return run_locally(options, loaded, folder);
}

int collect(const SweepCommand& options) {
  const LoadedSweep loaded = load_sweep(options.config, options.overrides);
  const SweepFolder folder(options.out);
  const std::string csv = folder.write_csv(loaded.plan);
  std::string missing;
  int count = 0;
  for (const PlannedRun& run : loaded.plan.runs) {
    if (folder.result(run)) continue;
    ++count;
    missing += "\n  " + folder.run_folder(run);
  }
  if (options.json) {
    std::cout << nlohmann::ordered_json{{"runs", loaded.plan.runs.size()}, {"missing", count}, {"csv", csv}}.dump()
              << std::endl;
  } else {
    std::cout << csv << std::endl;
  }
  if (count > 0) {
    throw Error(ExitCode::kInputOutput, std::to_string(count) + " runs have no result:" + missing,
                "`tsugi sweep run` trains what is missing");
  }
  return static_cast<int>(ExitCode::kDone);
}

void status(const SweepCommand& options) {
  const LoadedSweep loaded = load_sweep(options.config, options.overrides);
  const SweepFolder folder(options.out);
  std::map<std::string, QueuedTask> queued;
  try {
    queued = queued_runs(folder);
  } catch (const Error& error) {
    // Also where the folder is only looked at, from a machine without Slurm.
    std::cerr << "what Slurm has queued is not known: " << error.what() << std::endl;
  }
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  double flops = 0.0;
  for (const PlannedRun& run : loaded.plan.runs) {
    const std::optional<RunResult> ended = folder.result(run);
    const int64_t step = ended ? run.config.steps() : std::min(folder.step(run), run.config.steps());
    const auto task = queued.find(run.id);
    const std::string state = ended                  ? (ended->diverged ? "diverged" : "done")
                              : folder.running(run)  ? "running"
                              : task != queued.end() ? "queued"
                              : step > 0             ? "stopped"
                                                     : "waiting";
    flops += run.flops * static_cast<double>(step) / static_cast<double>(run.config.steps());
    json.push_back(
        {{"name", run.name}, {"id", run.id}, {"state", state}, {"step", step}, {"steps", run.config.steps()}});
    if (ended && !ended->diverged) json.back()["loss"] = ended->loss;
    const bool in_slurm = !ended && task != queued.end();
    if (in_slurm) {
      json.back()["job"] = task->second.array + "_" + task->second.index;
      json.back()["slurm"] = task->second.state;
    }
    if (options.json) continue;
    std::printf("%-28s %-9s %8lld / %-8lld", run.name.c_str(), state.c_str(), static_cast<long long>(step),
                static_cast<long long>(run.config.steps()));
    if (ended && !ended->diverged) std::printf("  loss %.4f", ended->loss);
    if (in_slurm) {
      const QueuedTask& job = task->second;
      std::printf("  job %s_%s %s", job.array.c_str(), job.index.c_str(), job.state.c_str());
      if (job.state == "PENDING") std::printf(" (%s)", job.reason.c_str());
    }
    std::printf("\n");
  }
  if (options.json) {
    std::cout << nlohmann::ordered_json{{"share", flops / loaded.plan.flops}, {"runs", json}}.dump() << std::endl;
  } else {
    std::printf("%.1f %% of %.3e FLOPs\n", 100 * flops / loaded.plan.flops, loaded.plan.flops);
  }
}

}  // namespace

void add_sweep_run(Command sweep) {
  auto options = std::make_shared<SweepCommand>();
  Command planning = sweep.subcommand("plan", "The runs of a sweep file: sizes, steps from exact FLOPs, cost");
  add_sweep_file(planning, *options);
  planning.run([options] { return plan(*options), 0; });

  Command running = sweep.subcommand(
      "run", "Train the runs of a sweep file that have not ended, side by side on this host or as job arrays of Slurm");
  add_sweep_file(running, *options);
  running.option("--out", options->out, "the sweep's folder").required();
  running.option("--executor", options->executor, "local, or slurm: submit and return")
      .show_default()
      .one_of({"local", "slurm"});
  running.option("--jobs", options->slurm.jobs, "runs side by side; 0: one for each CPU").range(0, 4096);
  running.option("--threads", options->threads, "of each run").show_default().range(1, 4096);
  running.option("--launcher", options->launcher, "start each run through this: \"mpirun -n 4\"");
  running.option("--only", options->only, "ids of the runs to train (sweep plan --json)").separated(',');
  add_slurm_options(running, options->slurm);
  running.run([options] { return run(*options); });

  Command collecting = sweep.subcommand("collect", "The table of the runs that have ended; code 5 if one has not");
  add_sweep_file(collecting, *options);
  collecting.option("--out", options->out, "the sweep's folder").required();
  collecting.run([options] { return collect(*options); });

  Command watching = sweep.subcommand("status", "How far the runs of a sweep are");
  add_sweep_file(watching, *options);
  watching.option("--out", options->out, "the sweep's folder").required();
  watching.run([options] { return status(*options), 0; });
}

}  // namespace tsugi
