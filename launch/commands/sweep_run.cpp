#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "core/data/folders.h"
#include "core/scaling/data/read_sweep.h"
#include "launch/commands/sweep.h"
#include "launch/commands/sweep_slurm.h"
#include "launch/device.h"
#include "launch/sweep/local_executor.h"
#include "launch/sweep/slurm_submission.h"
#include "launch/sweep/wall_time.h"
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
  int jobs = 0;         ///< of a plan
  double gflops = 0.0;  ///< of a plan; 0: measured
  double mfu = 0.2;
  bool json = false;
};

std::string program_path() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

void print_notes(const LoadedSweep& loaded) {
  for (const std::string& note : loaded.notes) std::cout << note << std::endl;
}

/// What a plan costs in the conventions that people quote (core/scaling/flops.h).
struct ComputeTotals {
  double palm = 0.0, causal = 0.0, rule_of_thumb = 0.0, without_embeddings = 0.0;
};
ComputeTotals compute_totals(const SweepPlan& plan) {
  ComputeTotals totals;
  for (const PlannedRun& run : plan.runs) {
    totals.palm += run.flops;
    totals.causal += run.flops_causal;
    totals.rule_of_thumb += run.flops_6nd;
    totals.without_embeddings += run.flops_without_embeddings;
  }
  return totals;
}

WallTime wall_time(const SweepCommand& options, const LoadedSweep& loaded) {
  constexpr double kGiga = 1e9;
  return predict_wall_time(sweep_tasks(loaded.plan), loaded.base, options.jobs, options.gflops * kGiga, options.mfu);
}

void print_plan(const SweepCommand& options, const LoadedSweep& loaded) {
  const SweepPlan& plan = loaded.plan;
  print_notes(loaded);
  std::printf("%-28s %11s %11s %11s %7s %10s %8s %9s\n", "run", "parameters", "N", "D", "D/N", "FLOPs", "steps",
              "rate");
  double fine_tuning = 0.0;
  for (const PlannedRun& run : plan.runs) {
    std::printf("%-28s %11lld %11lld %11.4g %7.4g %10.3e %8lld %9.2e", run.name.c_str(),
                static_cast<long long>(run.parameters), static_cast<long long>(run.parameters_in_products), run.tokens,
                run.tokens / static_cast<double>(run.parameters_in_products), run.flops,
                static_cast<long long>(run.config.steps()), run.config.optimizer().learning_rate());
    if (run.segment >= 0) std::printf("  from step %lld of its trunk", static_cast<long long>(run.first_step));
    std::printf("%s\n", run.held_out ? "  held out" : "");
    fine_tuning += run.downstream_flops;
  }
  if (!plan.segments.empty()) {
    std::printf("%zu pieces of trunks: %.3e FLOPs are trained instead of %.3e\n", plan.segments.size(), plan.flops,
                plan.flops_apart);
  }
  if (fine_tuning > 0) std::printf("fine-tuning takes at most %.3e FLOPs of them\n", fine_tuning);
  const ComputeTotals totals = compute_totals(plan);
  std::printf(
      "FLOPs of the runs: %.3e (6 N + 12 L H Q T per token, PaLM), %.3e (its causal half), %.3e (6 N D),"
      " %.3e (6 N D without embeddings)\n",
      totals.palm, totals.causal, totals.rule_of_thumb, totals.without_embeddings);
  std::printf("%zu runs, %.3e FLOPs: an hour on %.2g GFLOP/s\n%s\n", plan.runs.size(), plan.flops,
              plan.flops / 3600 / 1e9, wall_time_text(wall_time(options, loaded)).c_str());
}

void plan(const SweepCommand& options) {
  const LoadedSweep loaded = load_sweep(options.config, options.overrides);
  if (!options.json) return print_plan(options, loaded);
  const ComputeTotals totals = compute_totals(loaded.plan);
  nlohmann::ordered_json json{{"name", loaded.sweep.name()},
                              {"flops", loaded.plan.flops},
                              {"flops_apart", loaded.plan.flops_apart},
                              {"flops_causal", totals.causal},
                              {"flops_6nd", totals.rule_of_thumb},
                              {"flops_without_embeddings", totals.without_embeddings},
                              {"predicted", wall_time_json(wall_time(options, loaded))},
                              {"notes", loaded.notes}};
  json["runs"] = nlohmann::ordered_json::array();
  for (const PlannedRun& run : loaded.plan.runs) json["runs"].push_back(run_json(run));
  json["trunks"] = nlohmann::ordered_json::array();
  for (const PlannedSegment& segment : loaded.plan.segments) json["trunks"].push_back(segment_json(segment));
  std::cout << json.dump() << std::endl;
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

bool is_grid(const GridConfig& grid) { return !grid.learning_rates().empty() || !grid.batch_tokens().empty(); }

/// Whether every run has ended so.
bool all_diverged(const SweepFolder& folder, const SweepPlan& plan) {
  return std::ranges::all_of(plan.runs, [&](const PlannedRun& run) {
    const std::optional<RunResult> ended = folder.result(run);
    return ended && ended->diverged;
  });
}

int run_locally(const SweepCommand& options, const LoadedSweep& loaded, const SweepFolder& folder) {
  LocalExecution execution;
  execution.jobs = options.slurm.jobs.value_or(0);
  execution.threads = options.threads;
  execution.program = program_path();
  execution.launcher = words(options.launcher);
  // Ranks of one run take devices among themselves.
  if (execution.launcher.empty()) execution.devices = devices_of_host(loaded.base.compute());
  execution.only = options.only;
  execution.downstream = loaded.sweep.downstream();
  execution.quiet = options.json;
  if (!options.json && options.only.empty()) print_notes(loaded);
  const ExecutionSummary summary = execute_locally(folder, loaded.plan, execution);
  const std::string csv = folder.write_csv(loaded.plan);
  const bool diverged = options.only.empty() && all_diverged(folder, loaded.plan);
  if (options.json) {
    std::cout << nlohmann::ordered_json{{"runs", loaded.plan.runs.size()},
                                        {"notes", loaded.notes},
                                        {"done", summary.done},
                                        {"diverged", summary.diverged},
                                        {"trunks", summary.segments},
                                        {"fine_tuned", summary.fine_tuned},
                                        {"failed", summary.failed},
                                        {"left", summary.left},
                                        {"interrupted", summary.interrupted},
                                        {"csv", csv}}
                     .dump()
              << std::endl;
  } else if (summary.interrupted) {
    std::cout << "stopped as asked; run the same command again to go on\n";
  } else if (!options.only.empty()) {
    if (summary.left > 0) {
      std::cout << summary.left << " are left: another launcher is at them, or what they wait for is not there\n";
    }
  } else if (!diverged) {
    std::cout << csv << "\nnext: tsugi sweep fit --csv " << csv
              << " --where 'status == \"done\"' --hold-out 'held_out == 1' --form "
              << (is_grid(loaded.sweep.grid()) ? "hyperparameters" : "chinchilla") << "\n";
  }
  if (summary.failed > 0) {
    throw Error(ExitCode::kInputOutput,
                std::to_string(summary.failed) + " runs failed; their logs are " + options.out + "/runs/*/log" +
                    (loaded.plan.segments.empty() ? "" : " and trunks/*/log"),
                "the same command tries them again");
  }
  if (diverged) {
    throw Error(ExitCode::kDiverged,
                "all " + std::to_string(loaded.plan.runs.size()) +
                    " runs diverged, at half the learning rate too: there is nothing to fit; the table is " + csv,
                kAgainstDivergence);
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
  make_folders(options.out);
  folder.write_plan(loaded.plan);
  return run_locally(options, loaded, folder);
}

int collect(const SweepCommand& options) {
  const LoadedSweep loaded = load_sweep(options.config, options.overrides);
  const SweepFolder folder(options.out);
  const std::string csv = folder.write_csv(loaded.plan);
  std::string missing;
  int count = 0;
  const std::vector<SweepTask> tasks = sweep_tasks(loaded.plan);
  for (const SweepTask& task : tasks) {
    if (task.kind == SweepTask::Kind::kSegment || folder.has_result(task)) continue;
    const bool of_diverged =
        task.kind == SweepTask::Kind::kDownstream && folder.has_diverged(tasks[static_cast<size_t>(task.after)]);
    if (of_diverged) continue;
    ++count;
    missing += "\n  " + folder.task_folder(task);
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

}  // namespace

void add_sweep_file(Command command, std::string& config, std::vector<std::string>& overrides, bool& json) {
  command.option("--config", config, "sweep file (launch/recipes/sweeps/*.textproto)").required();
  command
      .option(
          "--set", overrides,
          "change a field of the base configuration: data.train=data/tokens; or of the sweep: sweep.most_flops=1e15")
      .take_all();
  command.flag("--json", json, "print the result as one JSON object, and nothing else");
}

void add_sweep_run(Command sweep) {
  auto options = std::make_shared<SweepCommand>();
  Command planning = sweep.subcommand("plan", "The runs of a sweep file: sizes, steps from exact FLOPs, cost");
  add_sweep_file(planning, options->config, options->overrides, options->json);
  planning.option("--jobs", options->jobs, "runs side by side, for the predicted time; 0: one for each CPU")
      .range(0, 4096)
      .show_default();
  planning.option("--gflops", options->gflops, "GFLOP/s of a run; unless given, --mfu of what a matrix product reaches")
      .positive();
  planning.option("--mfu", options->mfu, "share of the measured rate that runs reach").range(0.001, 1.0).show_default();
  planning.run([options] { return plan(*options), 0; });

  Command running = sweep.subcommand(
      "run", "Train the runs of a sweep file that have not ended, side by side on this host or as job arrays of Slurm");
  add_sweep_file(running, options->config, options->overrides, options->json);
  running.option("--out", options->out, "the sweep's folder").required();
  running.option("--executor", options->executor, "local, or slurm: submit and return")
      .show_default()
      .one_of({"local", "slurm"});
  running.option("--jobs", options->slurm.jobs, "runs side by side; 0: one for each device, or CPU").range(0, 4096);
  running.option("--threads", options->threads, "of each run").show_default().range(1, 4096);
  running.option("--launcher", options->launcher, "start each run through this: \"mpirun -n 4\"");
  running.option("--only", options->only, "ids of what to do (sweep plan --json)").separated(',');
  add_slurm_options(running, options->slurm);
  running.run([options] { return run(*options); });

  Command collecting = sweep.subcommand("collect", "The table of the runs that have ended; code 5 if one has not");
  add_sweep_file(collecting, options->config, options->overrides, options->json);
  collecting.option("--out", options->out, "the sweep's folder").required();
  collecting.run([options] { return collect(*options); });
}

}  // namespace tsugi
