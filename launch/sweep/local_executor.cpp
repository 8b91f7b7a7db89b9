#include "launch/sweep/local_executor.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <initializer_list>
#include <iostream>
#include <map>
#include <set>
#include <thread>

#include "core/config/config.h"
#include "core/data/file.h"
#include "core/data/folders.h"
#include "core/data/json.h"
#include "core/train/stop_signal.h"
#include "dist/affinity.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int64_t kLargestLog = int64_t{1} << 26;
constexpr auto kPoll = std::chrono::milliseconds(50);

/// A task that a process of ours does.
struct Child {
  size_t task = 0;
  size_t slot = 0;
  bool half_rate = false;
  int lock = -1;  ///< ours too, until the result is written
  Clock::time_point start;
};

std::string last_line(const std::string& path) {
  std::string text;
  try {
    text = read_file(path, kLargestLog);
  } catch (const Error&) {
    return "there is no log";
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

std::string exact(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

std::string decimals(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", value);
  return text;
}

class Executor {
 public:
  Executor(const SweepFolder& folder, const SweepPlan& plan, const LocalExecution& options)
      : folder_(folder),
        plan_(plan),
        options_(options),
        tasks_(sweep_tasks(plan)),
        ended_(tasks_.size(), false),
        cpus_(allowed_cpus()) {
    const size_t places = options.devices.empty() ? cpus_.size() : options.devices.size();
    slots_.assign(options.jobs > 0 ? static_cast<size_t>(options.jobs) : places, false);
  }

  ExecutionSummary execute() {
    std::set<std::string> only(options_.only.begin(), options_.only.end());
    const bool all = only.empty();
    for (size_t i = 0; i < tasks_.size(); ++i) {
      if ((all || only.erase(tasks_[i].id) > 0) && !has_ended(i)) waiting_.push_back(i);
    }
    if (!only.empty()) throw Error(ExitCode::kUsage, "this sweep has no run of id " + *only.begin());
    std::ranges::stable_sort(waiting_, [&](size_t a, size_t b) { return tasks_[a].chain > tasks_[b].chain; });
    total_ = waiting_.size();
    install_stop_signals();
    Clock::time_point busy = Clock::now();
    while (!waiting_.empty() || !children_.empty()) {
      if (stop_requested()) return stop();
      start_what_fits();
      if (!children_.empty()) busy = Clock::now();
      if (!all && Clock::now() - busy > std::chrono::duration<double>(options_.patience_seconds)) break;
      if (!reap()) std::this_thread::sleep_for(kPoll);
    }
    summary_.left += static_cast<int>(waiting_.size());
    return summary_;
  }

 private:
  enum class Readiness { kReady, kWaits, kPointless };

  bool has_ended(size_t index) {
    if (!ended_[index]) ended_[index] = folder_.has_result(tasks_[index]);
    return ended_[index];
  }

  /// Whether a piece of the trunk that a task goes on from, near or far, has diverged.
  bool trunk_diverged(const SweepTask& task) {
    for (int one = task.after; one >= 0; one = tasks_[static_cast<size_t>(one)].after) {
      if (has_ended(static_cast<size_t>(one)) && folder_.has_diverged(tasks_[static_cast<size_t>(one)])) return true;
    }
    return false;
  }

  /// What diverged is neither gone on from nor fine-tuned; runs then go their own way.
  Readiness readiness(const SweepTask& task) {
    if (task.after < 0) return Readiness::kReady;
    const size_t before = static_cast<size_t>(task.after);
    switch (task.kind) {
      case SweepTask::Kind::kSegment:
        if (trunk_diverged(task)) return Readiness::kPointless;
        break;
      case SweepTask::Kind::kRun:
        if (trunk_diverged(task)) return Readiness::kReady;
        break;
      case SweepTask::Kind::kDownstream:
        if (has_ended(before) && folder_.has_diverged(tasks_[before])) return Readiness::kPointless;
        break;
    }
    return has_ended(before) ? Readiness::kReady : Readiness::kWaits;
  }

  void start_what_fits() {
    for (size_t slot = 0; slot < slots_.size(); ++slot) {
      if (slots_[slot]) continue;
      for (auto next = waiting_.begin(); next != waiting_.end();) {
        const SweepTask& task = tasks_[*next];
        if (has_ended(*next)) {  // by another launcher
          next = waiting_.erase(next);
          continue;
        }
        const Readiness ready = readiness(task);
        if (ready == Readiness::kPointless) {
          next = waiting_.erase(next);
          continue;
        }
        if (ready == Readiness::kReady && start(*next, slot)) {
          waiting_.erase(next);
          break;
        }
        ++next;  // it waits, or another launcher has it
      }
      if (!slots_[slot]) return;
    }
  }

  /// False when somebody else is at it.
  bool start(size_t index, size_t slot) {
    const SweepTask& task = tasks_[index];
    const std::string folder = folder_.task_folder(task);
    make_folders(folder);
    const std::string path = folder + "/lock";
    const int lock = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock < 0) throw file_error("open", path);
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
      close(lock);
      return false;
    }
    if (folder_.has_result(task)) {  // it ended between our look and the lock
      close(lock);
      return true;
    }
    if (task.kind == SweepTask::Kind::kRun && trunk_diverged(task)) {
      make_folders(folder + "/train-half-rate");
    }
    const bool half_rate = task.kind == SweepTask::Kind::kRun && std::filesystem::exists(folder + "/train-half-rate");
    launch(index, slot, half_rate, lock);
    return true;
  }

  /// The configuration of a run or a piece of a trunk, written where its process finds it.
  std::string write_specification(const SweepTask& task, bool half_rate) const {
    RunConfig config = task.segment != nullptr ? task.segment->config : task.run->config;
    if (half_rate) config.mutable_optimizer()->set_learning_rate(config.optimizer().learning_rate() / 2);
    config.mutable_dist()->set_threads(options_.threads);
    const std::string path = folder_.task_folder(task) + (half_rate ? "/half-rate.textproto" : "/run.textproto");
    write_file_durably(path, to_text(config));
    return path;
  }

  std::vector<std::string> command(const SweepTask& task, bool half_rate) const {
    std::vector<std::string> words = options_.launcher;
    words.push_back(options_.program);
    const auto add = [&](std::initializer_list<std::string> more) { words.insert(words.end(), more); };
    const std::string out = folder_.task_folder(task) + (half_rate ? "/train-half-rate" : "/train");
    if (task.kind == SweepTask::Kind::kDownstream) {
      const DownstreamConfig& downstream = options_.downstream;
      add({"finetune",
           "--task",
           "classification",
           "--checkpoint",
           folder_.run_directory(*task.run),
           "--train",
           downstream.train(),
           "--validation",
           downstream.validation(),
           "--epochs",
           exact(downstream.epochs()),
           "--batch",
           std::to_string(downstream.batch()),
           "--micro-batches",
           std::to_string(downstream.micro_batches()),
           "--learning-rate",
           exact(downstream.learning_rate()),
           "--seed",
           std::to_string(task.run->config.seed()),
           "--threads",
           std::to_string(options_.threads),
           "--device",
           ComputeConfig::Device_Name(task.run->config.compute().device()),
           "--compute",
           NumericsConfig::Compute_Name(task.run->config.numerics().compute()),
           "--checkpoint-every",
           "200",
           "--baselines"});
    } else {
      add({"pretrain", "--config", write_specification(task, half_rate)});
      if (task.after >= 0 && !half_rate) {
        add({"--start-from", folder_.task_folder(tasks_[static_cast<size_t>(task.after)]) + "/train"});
      }
    }
    add({"--out", out, "--resume", "auto", "--json"});
    return words;
  }

  void launch(size_t index, size_t slot, bool half_rate, int lock) {
    const SweepTask& task = tasks_[index];
    const std::string log = folder_.task_folder(task) + "/log";
    const std::string summary = folder_.task_folder(task) + "/summary.json";
    const std::vector<std::string> words = command(task, half_rate);
    std::vector<const char*> arguments;
    for (const std::string& word : words) arguments.push_back(word.c_str());
    arguments.push_back(nullptr);
    const cpu_set_t cpus = share_of(slot);
    const std::vector<std::string>& devices = options_.devices;
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child < 0) throw file_error("start a process of", options_.program);
    if (child == 0) {
      // A launcher that dies takes its tasks along; they save before they go. After a SIGTERM mpirun would not let
      // them.
      prctl(PR_SET_PDEATHSIG, SIGUSR1);
      if (getppid() != parent) _exit(static_cast<int>(ExitCode::kInterrupted));
      setpgid(0, 0);  // Ctrl-C comes through us
      sched_setaffinity(0, sizeof cpus, &cpus);
      if (!devices.empty()) setenv("CUDA_VISIBLE_DEVICES", devices[slot % devices.size()].c_str(), 1);
      const int messages = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
      const int result = open(summary.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
      const int nothing = open("/dev/null", O_RDONLY);
      if (messages < 0 || result < 0 || nothing < 0 || dup2(nothing, 0) < 0 || dup2(result, 1) < 0 ||
          dup2(messages, 2) < 0 || fcntl(lock, F_SETFD, 0) != 0) {
        _exit(static_cast<int>(ExitCode::kInputOutput));
      }
      execvp(arguments[0], const_cast<char* const*>(arguments.data()));
      _exit(127);
    }
    slots_[slot] = true;
    children_[child] = {index, slot, half_rate, lock, Clock::now()};
  }

  /// The CPUs of a run. Its own ones only where runs side by side take them all: otherwise others may be about, and the
  /// kernel knows better which CPUs are free.
  cpu_set_t share_of(size_t slot) const {
    const size_t threads = static_cast<size_t>(options_.threads);
    const bool own = options_.launcher.empty() && slots_.size() * threads >= cpus_.size();
    cpu_set_t share;
    CPU_ZERO(&share);
    for (size_t i = 0; i < (own ? threads : cpus_.size()); ++i) {
      CPU_SET(static_cast<size_t>(cpus_[own ? (slot * threads + i) % cpus_.size() : i]), &share);
    }
    return share;
  }

  /// Deals with one process that has ended; false when none has.
  bool reap() {
    int status = 0;
    const pid_t ended = waitpid(-1, &status, WNOHANG);
    if (ended <= 0 || !children_.contains(ended)) return false;
    const Child child = children_[ended];
    children_.erase(ended);
    slots_[child.slot] = false;
    keep(child, status);
    close(child.lock);
    return true;
  }

  void keep(const Child& child, int status) {
    const SweepTask& task = tasks_[child.task];
    const double seconds = std::chrono::duration<double>(Clock::now() - child.start).count();
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    // Signals that come before the task listens end it, and so does a launcher that was asked to.
    if (code == static_cast<int>(ExitCode::kInterrupted) || (code > 128 && stop_requested())) {
      if (!stop_requested()) waiting_.push_back(child.task);  // somebody stopped this task alone: it goes on
      return;
    }
    const bool diverged = code == static_cast<int>(ExitCode::kDiverged);
    if (code != 0 && !diverged) {
      // Not kept as a result: what made it fail (a full disk, a killed process) may be mended before the next try.
      ++summary_.failed;
      drop_what_waits_for(child.task);
      return report(task,
                    "failed with code " + std::to_string(code) + ": " + last_line(folder_.task_folder(task) + "/log"));
    }
    if (task.kind == SweepTask::Kind::kSegment) {
      folder_.write_segment_result(task, diverged, seconds);
      ++summary_.segments;
      report(task, diverged ? "diverged; its runs have half the learning rate"
                            : "in " + std::to_string(std::lround(seconds)) + " s");
    } else if (task.kind == SweepTask::Kind::kRun) {
      keep_run(child, diverged, seconds);
    } else {
      keep_downstream(task, diverged, seconds);
    }
  }

  void keep_run(const Child& child, bool diverged, double seconds) {
    const SweepTask& task = tasks_[child.task];
    const PlannedRun& run = *task.run;
    RunResult result;
    result.seconds = seconds;
    result.learning_rate = run.config.optimizer().learning_rate() / (child.half_rate ? 2 : 1);
    result.diverged = diverged;
    if (diverged) {
      result.reason = last_line(folder_.run_folder(run) + "/log");
    } else {
      const JsonValue summary = read_json(folder_.run_folder(run) + "/summary.json", kLargestLog);
      result.loss = summary.require_double("validation_loss");
      result.speed = read_speed(summary);
      // Finite to the end, and yet it knows less than nothing.
      const double guessing = std::log(static_cast<double>(run.config.model().vocabulary()));
      result.diverged = result.loss > guessing;
      if (result.diverged) result.reason = "loss " + decimals(result.loss) + ", guessing has " + decimals(guessing);
    }
    if (result.diverged && !child.half_rate) {
      make_folders(folder_.run_folder(run) + "/train-half-rate");
      waiting_.insert(waiting_.begin(), child.task);
      return report(task, "diverged; again at half the learning rate");
    }
    ++(result.diverged ? summary_.diverged : summary_.done);
    report(task, result.diverged
                     ? "diverged at half the learning rate too"
                     : "loss " + decimals(result.loss) + " in " + std::to_string(std::lround(seconds)) + " s");
    folder_.write_result(run, result);
    folder_.write_csv(plan_);
  }

  void keep_downstream(const SweepTask& task, bool diverged, double seconds) {
    DownstreamResult result;
    result.diverged = diverged;
    result.seconds = seconds;
    if (!diverged) {
      const JsonValue summary = read_json(folder_.task_folder(task) + "/summary.json", kLargestLog);
      result.accuracy = summary.require_double("accuracy");
      result.majority = summary.require_double("majority_accuracy");
      result.ngrams = summary.require_double("ngram_accuracy");
      result.loss = summary.require_double("validation_loss");
    }
    ++summary_.fine_tuned;
    report(task, diverged
                     ? std::string("diverged")
                     : "accuracy " + decimals(result.accuracy) + " in " + std::to_string(std::lround(seconds)) + " s");
    folder_.write_downstream_result(task, result);
    folder_.write_csv(plan_);
  }

  /// After a failure: the same command tries again.
  void drop_what_waits_for(size_t failed) {
    const auto waits = [&](size_t index) {
      for (int one = tasks_[index].after; one >= 0; one = tasks_[static_cast<size_t>(one)].after) {
        if (static_cast<size_t>(one) == failed) return true;
      }
      return false;
    };
    summary_.left += static_cast<int>(std::erase_if(waiting_, waits));
  }

  void report(const SweepTask& task, const std::string& what) {
    if (options_.quiet) return;
    std::cout << "[" << total_ - waiting_.size() - children_.size() << "/" << total_ << "] " << task.name << "  "
              << what << std::endl;
  }

  /// Asks the runs under way to save, and waits until they have.
  ExecutionSummary stop() {
    for (const auto& [process, child] : children_) kill(process, SIGUSR1);
    while (!children_.empty()) {
      if (!reap()) std::this_thread::sleep_for(kPoll);
    }
    summary_.interrupted = true;
    return summary_;
  }

  const SweepFolder& folder_;
  const SweepPlan& plan_;
  const LocalExecution& options_;
  std::vector<SweepTask> tasks_;
  std::vector<bool> ended_;  ///< by index of the task; results do not go away
  std::vector<int> cpus_;
  std::vector<bool> slots_;
  std::vector<size_t> waiting_;  ///< indices of tasks
  std::map<pid_t, Child> children_;
  size_t total_ = 0;
  ExecutionSummary summary_;
};

}  // namespace

ExecutionSummary execute_locally(const SweepFolder& folder, const SweepPlan& plan, const LocalExecution& options) {
  return Executor(folder, plan, options).execute();
}

}  // namespace tsugi
