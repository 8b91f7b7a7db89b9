#include "launch/sweep/slurm_submission.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>
#include <sstream>

#include "core/config/config.h"
#include "core/data/file.h"
#include "core/data/folders.h"
#include "launch/sweep/run_program.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kLargestTaskList = int64_t{1} << 26;

/// Held until the end of the scope.
class SubmissionLock {
 public:
  explicit SubmissionLock(const std::string& path)
      : descriptor_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
    if (descriptor_ < 0 || flock(descriptor_, LOCK_EX) != 0) throw file_error("lock", path);
  }
  ~SubmissionLock() { close(descriptor_); }
  SubmissionLock(const SubmissionLock&) = delete;
  SubmissionLock& operator=(const SubmissionLock&) = delete;

 private:
  int descriptor_;
};

/// Scripts are known by their path, so there must be one way to write it.
std::string sweep_path(const SweepFolder& folder) {
  std::string path = fs::weakly_canonical(fs::absolute(folder.path())).string();
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}
std::string slurm_folder(const SweepFolder& folder) { return sweep_path(folder) + "/slurm"; }

/// The next number; dry runs have one, too, since their scripts may be submitted by hand.
std::string new_folder(const std::string& parent) {
  for (int number = 1;; ++number) {
    char name[16];
    std::snprintf(name, sizeof name, "/%04d", number);
    if (fs::create_directory(parent + name)) return parent + name;
  }
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

std::vector<std::string> parts_of(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

/// The number of the job that sbatch made of `script`.
std::string sbatch(const std::vector<std::string>& options, const std::string& script, const std::string& before) {
  std::vector<std::string> words{"sbatch", "--parsable"};
  words.insert(words.end(), options.begin(), options.end());
  words.push_back(script);
  const ProgramOutput said = run_program(words);
  const std::string job = trimmed(said.output.substr(0, said.output.find(';')));  // a federation adds ";CLUSTER"
  if (said.code != 0 || job.empty() || job.find_first_not_of("0123456789") != std::string::npos) {
    throw Error(ExitCode::kUsage,
                "sbatch refused " + script + " (code " + std::to_string(said.code) + "): " + trimmed(said.errors),
                before.empty() ? "nothing was submitted"
                               : "submitted before it:" + before + "; the same command submits what is missing");
  }
  return job;
}

double measured_flops_per_second(const SweepFolder& folder, const SweepPlan& plan) {
  double flops = 0.0;
  double seconds = 0.0;
  for (const PlannedRun& run : plan.runs) {
    const std::optional<RunResult> ended = folder.result(run);
    if (!ended || ended->diverged) continue;
    flops += run.cost;
    seconds += ended->seconds;
  }
  constexpr double kUnknown = 1e10;
  return seconds > 0 ? flops / seconds : kUnknown;
}

/// Tasks that wait for none of their own stage, but those of a trunk, which are one unit.
struct SlurmStage {
  const char* what = "";
  std::vector<WorkUnit> units;
  std::set<std::string> jobs;  ///< of earlier submissions, with tasks that these wait for
};

std::vector<SlurmStage> stages_of(const std::vector<SweepTask>& tasks, const std::vector<size_t>& missing,
                                  const std::map<std::string, QueuedTask>& queued) {
  std::vector<SlurmStage> stages{{"trunks", {}, {}}, {"runs", {}, {}}, {"fine-tunings", {}, {}}};
  std::map<int, size_t> unit_of;  // by the task at which a trunk begins
  for (const size_t i : missing) {
    const SweepTask& task = tasks[i];
    SlurmStage& stage = stages[static_cast<size_t>(task.kind)];
    for (int one = task.after; one >= 0; one = tasks[static_cast<size_t>(one)].after) {
      const auto elsewhere = queued.find(tasks[static_cast<size_t>(one)].id);
      if (elsewhere != queued.end()) stage.jobs.insert(elsewhere->second.array);
    }
    if (task.kind == SweepTask::Kind::kSegment) {
      int root = static_cast<int>(i);
      while (tasks[static_cast<size_t>(root)].after >= 0) root = tasks[static_cast<size_t>(root)].after;
      const auto [found, fresh] = unit_of.emplace(root, stage.units.size());
      if (fresh) stage.units.emplace_back();
      stage.units[found->second].ids.push_back(task.id);
      stage.units[found->second].flops += task.flops;
    } else {
      stage.units.push_back({{task.id}, task.flops});
    }
  }
  return stages;
}

/// Whatever becomes of them: what comes after looks at what there is.
std::vector<std::string> dependency_on(const std::set<std::string>& jobs) {
  if (jobs.empty()) return {};
  std::string option = "--dependency=afterany";
  for (const std::string& job : jobs) option += ":" + job;
  return {option};
}

/// The sweep beside its scripts; it must plan the same runs again.
void write_snapshot(const LoadedSweep& loaded, const std::string& folder) {
  SweepConfig sweep = loaded.sweep;
  sweep.set_base("base.textproto");
  write_file_durably(folder + "/base.textproto", to_text(loaded.base));
  write_file_durably(folder + "/sweep.textproto", to_text(sweep));
  const SweepPlan again = load_sweep(folder + "/sweep.textproto", {}).plan;
  const auto ids = [](const SweepPlan& plan) {
    std::set<std::string> all;
    for (const PlannedRun& run : plan.runs) all.insert(run.id);
    return all;
  };
  if (ids(again) != ids(loaded.plan)) {
    throw Error(ExitCode::kData, folder + "/sweep.textproto: plans other runs than the sweep that it is a copy of",
                "did the data change just now? the same command tries again");
  }
}

}  // namespace

std::map<std::string, QueuedTask> queued_runs(const SweepFolder& folder) {
  std::map<std::string, QueuedTask> queued;
  const std::string parent = slurm_folder(folder) + "/";
  if (!fs::exists(parent)) return queued;
  const ProgramOutput said = run_program({"squeue", "--me", "--noheader", "--array", "--format=%F|%K|%T|%r|%o"});
  if (said.code != 0) {
    throw Error(ExitCode::kInputOutput,
                "squeue failed (code " + std::to_string(said.code) + "): " + trimmed(said.errors));
  }
  std::map<std::string, std::vector<std::string>> lists;  // by script
  for (const std::string& line : parts_of(said.output, '\n')) {
    size_t end = 0;
    for (int bars = 0; bars < 4 && end != std::string::npos; ++bars) end = line.find('|', end + (bars > 0 ? 1 : 0));
    if (end == std::string::npos) continue;
    const std::string script = trimmed(line.substr(end + 1));
    constexpr std::string_view kEnding = ".sbatch";
    if (!script.starts_with(parent) || !script.ends_with(kEnding)) continue;
    const std::string list = script.substr(0, script.size() - kEnding.size()) + ".tasks";
    if (!lists.contains(script)) {
      lists[script] = fs::exists(list) ? parts_of(read_file(list, kLargestTaskList), '\n') : std::vector<std::string>{};
    }
    const std::vector<std::string> fields = parts_of(line.substr(0, end), '|');
    if (fields.size() < 3 || fields[1].find_first_not_of("0123456789") != std::string::npos) continue;  // collect
    const size_t index = std::stoul(fields[1].substr(0, 9));
    if (index >= lists[script].size()) continue;
    for (const std::string& id : parts_of(lists[script][index], ',')) {
      queued[id] = {fields[0], fields[1], fields[2], fields.size() > 3 ? fields[3] : ""};
    }
  }
  return queued;
}

Submission submit_to_slurm(const SweepFolder& folder, const LoadedSweep& loaded, const SlurmExecution& options) {
  if (!options.dry_run && !have_program("sbatch")) run_program({"sbatch"});  // which says so
  const std::string parent = slurm_folder(folder);
  make_folders(parent);
  const SubmissionLock lock(parent + "/lock");
  Submission submission;
  std::map<std::string, QueuedTask> queued;
  try {
    queued = queued_runs(folder);
  } catch (const Error& error) {
    if (!options.dry_run) throw;
    submission.queue_unknown = error.what();
  }
  const std::vector<SweepTask> tasks = sweep_tasks(loaded.plan);
  std::vector<size_t> missing;
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (folder.has_result(tasks[i])) {
      ++submission.ended;
    } else if (queued.contains(tasks[i].id) || folder.running(tasks[i])) {
      ++submission.queued;
    } else if (!is_pointless(folder, tasks, tasks[i])) {
      missing.push_back(i);
    }
  }
  ArrayOptions arrays = options.arrays;
  if (arrays.flops_per_second <= 0) arrays.flops_per_second = measured_flops_per_second(folder, loaded.plan);
  submission.flops_per_second = arrays.flops_per_second;
  if (missing.empty()) return submission;

  const std::string mine = new_folder(parent);
  fs::create_directory(mine + "/logs");
  write_snapshot(loaded, mine);
  const ScriptPaths paths{loaded.sweep.name().empty() ? "sweep" : loaded.sweep.name(),
                          options.program,
                          mine + "/sweep.textproto",
                          sweep_path(folder),
                          mine,
                          fs::current_path().string()};
  std::vector<std::string> before;                         // scripts of the stage before
  std::map<std::string, std::set<std::string>> waits_for;  // jobs, by script
  for (const SlurmStage& stage : stages_of(tasks, missing, queued)) {
    if (stage.units.empty()) continue;
    std::vector<std::string> written_now;
    for (const JobArray& array : pack_runs(stage.units, options.classes, arrays)) {
      const std::string name = "class-" + std::to_string(submission.arrays.size());
      write_file_durably(mine + "/" + name + ".tasks", task_list(array));
      write_file_durably(mine + "/" + name + ".sbatch", array_script(array, name + ".tasks", paths, arrays));
      SubmittedArray written{mine + "/" + name + ".sbatch",        "", stage.what, before,
                             static_cast<int>(array.tasks.size()), 0,  0.0};
      for (const ArrayTask& task : array.tasks) {
        written.runs += static_cast<int>(task.units.size());
        written.longest_seconds = std::max(written.longest_seconds, task.seconds);
      }
      written_now.push_back(written.script);
      waits_for[written.script] = stage.jobs;
      submission.arrays.push_back(written);
    }
    before = written_now;
  }
  submission.collect_script = mine + "/collect.sbatch";
  write_file_durably(submission.collect_script, collect_script(options.classes.front(), paths, arrays));
  if (options.dry_run) return submission;

  std::string said;
  std::map<std::string, std::string> jobs;  // numbers by script
  std::set<std::string> all;
  for (SubmittedArray& array : submission.arrays) {
    std::set<std::string> after = waits_for[array.script];
    for (const std::string& script : array.after) after.insert(jobs[script]);
    array.job = sbatch(dependency_on(after), array.script, said);
    said += " " + array.job;
    jobs[array.script] = array.job;
    all.insert(array.job);
  }
  for (const auto& [id, task] : queued) all.insert(task.array);
  submission.collect_job = sbatch(dependency_on(all), submission.collect_script, said);
  return submission;
}

}  // namespace tsugi
