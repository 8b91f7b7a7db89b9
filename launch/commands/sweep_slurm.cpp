#include "launch/commands/sweep_slurm.h"

#include <cmath>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "ops/base/error.h"

namespace tsugi {
namespace {

ResourcesConfig changed(ResourcesConfig resources, const SlurmOptions& options) {
  if (options.partition) resources.set_partition(*options.partition);
  if (options.time) resources.set_time(*options.time);
  if (options.ranks) resources.set_ranks(*options.ranks);
  if (options.cpus_per_rank) resources.set_cpus_per_rank(*options.cpus_per_rank);
  if (options.nodes) resources.set_nodes(*options.nodes);
  if (options.gpus_per_node) resources.set_gpus_per_node(*options.gpus_per_node);
  if (options.jobs) resources.set_jobs(*options.jobs);
  return resources;
}

/// What is to be known besides the arrays: remarks on the plan, and what Slurm could not be asked.
std::vector<std::string> remarks(const Submission& submission, const LoadedSweep& loaded) {
  std::vector<std::string> notes = loaded.notes;
  if (!submission.queue_unknown.empty()) {
    notes.push_back("queued and running jobs could not be looked up (" + submission.queue_unknown +
                    "): the scripts have every run without a result");
  }
  return notes;
}

nlohmann::ordered_json as_json(const Submission& submission, const std::vector<std::string>& notes) {
  nlohmann::ordered_json json{{"ended", submission.ended},
                              {"queued", submission.queued},
                              {"flops_per_second", submission.flops_per_second},
                              {"arrays", nlohmann::ordered_json::array()},
                              {"collect", submission.collect_job},
                              {"notes", notes}};
  for (const SubmittedArray& array : submission.arrays) {
    json["arrays"].push_back({{"script", array.script},
                              {"job", array.job},
                              {"what", array.what},
                              {"after", array.after},
                              {"tasks", array.tasks},
                              {"runs", array.runs},
                              {"longest_seconds", array.longest_seconds}});
  }
  return json;
}

void show(const Submission& submission, const std::vector<std::string>& notes, const std::string& out, bool dry_run) {
  for (const std::string& note : notes) std::printf("%s\n", note.c_str());
  if (submission.ended + submission.queued > 0) {
    std::printf("%d runs (with trunks and fine-tunings) have ended, %d are queued or running\n", submission.ended,
                submission.queued);
  }
  for (const SubmittedArray& array : submission.arrays) {
    std::printf("%s: %d %s in %d tasks, the longest of about %.3g min at %.3g GFLOP/s a run\n",
                dry_run ? "an array" : ("array " + array.job).c_str(), array.runs, array.what.c_str(), array.tasks,
                array.longest_seconds / 60, submission.flops_per_second / 1e9);
    std::printf("  %s%s\n", dry_run ? "sbatch " : "", array.script.c_str());
    for (const std::string& script : array.after) {
      std::printf("    %s %s\n", dry_run ? "with --dependency=afterany: and the job of" : "after", script.c_str());
    }
  }
  if (submission.arrays.empty()) {
    std::printf("nothing to submit\n");
  } else if (dry_run) {
    std::printf("then\n  sbatch --dependency=afterany:ARRAYS %s\nnothing was submitted\n",
                submission.collect_script.c_str());
  } else {
    std::printf("job %s collects the results: %s/runs.csv and fit.json\nnext: tsugi sweep status …\n",
                submission.collect_job.c_str(), out.c_str());
  }
}

}  // namespace

void SlurmOptions::refuse_without_slurm() const {
  for (const Option& option : given) {
    if (option.given()) throw Error(ExitCode::kUsage, option.name() + " is for --executor slurm");
  }
}

void add_slurm_options(Command command, SlurmOptions& options) {
  const auto add = [&](Option option) { return options.given.emplace_back(option.section("Slurm")); };
  add(command.flag("--dry-run", options.dry_run, "write the scripts, submit nothing"));
  add(command.option("--partition", options.partition, "Slurm's default unless given"));
  add(command.option("--account", options.arrays.account, "who pays"));
  add(command.option("--time", options.time, "of one turn of a task (1:00:00); longer runs are requeued"));
  add(command.option("--ranks", options.ranks, "of each run (1)")).range(1, 65536);
  add(command.option("--cpus-per-rank", options.cpus_per_rank, "CPUs (1); runs of one rank share them, --jobs"))
      .range(1, 4096);
  add(command.option("--nodes", options.nodes, "for the ranks of a run; 0: as Slurm finds good")).range(0, 65536);
  add(command.option("--gpus-per-node", options.gpus_per_node, "one for each rank on a node (0)")).range(0, 64);
  add(command.option("--most-running", options.arrays.most_running, "array tasks at a time; 0: no limit"))
      .range(0, 100000);
  add(command.option("--pack-minutes", options.pack_minutes,
                     "put runs into one task until it takes about this long (30)"))
      .range(0.0, 1e6);
  add(command.option("--gflops", options.gflops,
                     "GFLOP/s of a run, to predict its length; unless given, what runs that have ended had, else 10"))
      .positive();
  add(command.option("--sbatch", options.arrays.sbatch, "one more option for sbatch: --sbatch=--qos=long")).take_all();
}

int run_in_slurm(const SlurmOptions& options, const std::string& origin, const LoadedSweep& loaded,
                 const SweepFolder& folder, const std::string& program, bool json) {
  SlurmExecution execution{resource_classes(loaded.sweep, origin), options.arrays, program, options.dry_run};
  if (options.pack_minutes) execution.arrays.pack_seconds = *options.pack_minutes * 60;
  if (options.gflops) execution.arrays.flops_per_second = *options.gflops * 1e9;
  for (ResourcesConfig& resources : execution.classes) {
    resources = changed(resources, options);
    check_resources(resources, "--executor slurm");
  }
  const Submission submission = submit_to_slurm(folder, loaded, execution);
  folder.write_plan(loaded.plan);
  if (submission.arrays.empty()) folder.write_csv(loaded.plan);
  if (json) {
    std::cout << as_json(submission, remarks(submission, loaded)).dump() << std::endl;
  } else {
    show(submission, remarks(submission, loaded), folder.path(), options.dry_run);
  }
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace tsugi
