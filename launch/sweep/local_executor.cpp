#include "launch/sweep/local_executor.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <map>
#include <set>
#include <thread>

#include "core/config/config.h"
#include "core/data/file.h"
#include "core/data/json.h"
#include "core/train/stop_signal.h"
#include "dist/affinity.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int64_t kLargestLog = int64_t{1} << 26;
constexpr auto kPoll = std::chrono::milliseconds(50);

/// A run that a process of ours trains.
struct Child {
  const PlannedRun* run = nullptr;
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

std::string decimals(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", value);
  return text;
}

class Executor {
 public:
  Executor(const SweepFolder& folder, const SweepPlan& plan, const LocalExecution& options)
      : folder_(folder), plan_(plan), options_(options), cpus_(allowed_cpus()) {
    const int jobs = options.jobs > 0 ? options.jobs : static_cast<int>(cpus_.size());
    slots_.assign(static_cast<size_t>(jobs), false);
  }

  ExecutionSummary execute() {
    std::set<std::string> only(options_.only.begin(), options_.only.end());
    const bool all = only.empty();
    for (const PlannedRun& run : plan_.runs) {
      if ((all || only.erase(run.id) > 0) && !folder_.result(run)) waiting_.push_back(&run);
    }
    if (!only.empty()) throw Error(ExitCode::kUsage, "this sweep has no run of id " + *only.begin());
    std::ranges::stable_sort(waiting_, [](const PlannedRun* a, const PlannedRun* b) { return a->flops > b->flops; });
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
    summary_.left = static_cast<int>(waiting_.size());
    return summary_;
  }

 private:
  void start_what_fits() {
    for (size_t slot = 0; slot < slots_.size(); ++slot) {
      if (slots_[slot]) continue;
      for (auto next = waiting_.begin(); next != waiting_.end();) {
        if (folder_.result(**next)) {  // another launcher ended it
          next = waiting_.erase(next);
          continue;
        }
        if (start(**next, slot, std::filesystem::exists(folder_.run_folder(**next) + "/train-half-rate"))) {
          waiting_.erase(next);
          break;
        }
        ++next;  // another launcher has it
      }
      if (!slots_[slot]) return;
    }
  }

  /// False when somebody else trains it.
  bool start(const PlannedRun& run, size_t slot, bool half_rate) {
    const std::string folder = folder_.run_folder(run);
    std::filesystem::create_directories(folder);
    const std::string path = folder + "/lock";
    const int lock = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock < 0) throw file_error("open", path);
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
      close(lock);
      return false;
    }
    if (folder_.result(run)) {  // it ended between our look and the lock
      close(lock);
      return true;
    }
    RunConfig config = run.config;
    if (half_rate) config.mutable_optimizer()->set_learning_rate(run.config.optimizer().learning_rate() / 2);
    config.mutable_dist()->set_threads(options_.threads);
    const std::string spec = folder + (half_rate ? "/half-rate.textproto" : "/run.textproto");
    write_file_durably(spec, to_text(config));
    launch(run, slot, half_rate, spec, lock);
    return true;
  }

  void launch(const PlannedRun& run, size_t slot, bool half_rate, const std::string& spec, int lock) {
    const std::string folder = folder_.run_folder(run);
    const std::string out = folder + (half_rate ? "/train-half-rate" : "/train");
    const std::string log = folder + "/log";
    const std::string summary = folder + "/summary.json";
    std::vector<const char*> arguments;
    for (const std::string& word : options_.launcher) arguments.push_back(word.c_str());
    for (const char* word : {options_.program.c_str(), "pretrain", "--config", spec.c_str(), "--out", out.c_str(),
                             "--resume", "auto", "--json"}) {
      arguments.push_back(word);
    }
    arguments.push_back(nullptr);
    const cpu_set_t cpus = share_of(slot);
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child < 0) throw file_error("start a process of", options_.program);
    if (child == 0) {
      // A launcher that dies takes its runs along; they save before they go. After a SIGTERM mpirun would not let them.
      prctl(PR_SET_PDEATHSIG, SIGUSR1);
      if (getppid() != parent) _exit(static_cast<int>(ExitCode::kInterrupted));
      setpgid(0, 0);  // Ctrl-C comes through us
      sched_setaffinity(0, sizeof cpus, &cpus);
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
    children_[child] = {&run, slot, half_rate, lock, Clock::now()};
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
    const PlannedRun& run = *child.run;
    const double seconds = std::chrono::duration<double>(Clock::now() - child.start).count();
    RunResult result;
    result.seconds = seconds;
    result.learning_rate = run.config.optimizer().learning_rate() / (child.half_rate ? 2 : 1);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    // Signals that come before the run listens end it, and so does a launcher that was asked to.
    if (code == static_cast<int>(ExitCode::kInterrupted) || (code > 128 && stop_requested())) {
      if (!stop_requested()) waiting_.push_back(&run);  // somebody stopped this run alone: it goes on
      return;
    }
    if (code == 0) {
      const JsonValue summary = read_json(folder_.run_folder(run) + "/summary.json", kLargestLog);
      result.loss = summary.require_double("validation_loss");
      result.speed = read_speed(summary);
      // Finite to the end, and yet it knows less than nothing.
      const double guessing = std::log(static_cast<double>(run.config.model().vocabulary()));
      result.diverged = result.loss > guessing;
      if (result.diverged) result.reason = "loss " + decimals(result.loss) + ", guessing has " + decimals(guessing);
    } else if (code == static_cast<int>(ExitCode::kDiverged)) {
      result.diverged = true;
      result.reason = last_line(folder_.run_folder(run) + "/log");
    } else {
      // Not kept as a result: what made it fail (a full disk, a killed process) may be mended before the next try.
      ++summary_.failed;
      return report(run,
                    "failed with code " + std::to_string(code) + ": " + last_line(folder_.run_folder(run) + "/log"));
    }
    if (result.diverged && !child.half_rate) {
      std::filesystem::create_directories(folder_.run_folder(run) + "/train-half-rate");
      waiting_.insert(waiting_.begin(), &run);
      return report(run, "diverged; again at half the learning rate");
    }
    ++(result.diverged ? summary_.diverged : summary_.done);
    report(run, result.diverged
                    ? "diverged at half the learning rate too"
                    : "loss " + decimals(result.loss) + " in " + std::to_string(std::lround(seconds)) + " s");
    folder_.write_result(run, result);
    folder_.write_csv(plan_);
  }

  void report(const PlannedRun& run, const std::string& what) {
    if (options_.quiet) return;
    std::cout << "[" << total_ - waiting_.size() - children_.size() << "/" << total_ << "] " << run.name << "  " << what
              << std::endl;
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
  std::vector<int> cpus_;
  std::vector<bool> slots_;
  std::vector<const PlannedRun*> waiting_;
  std::map<pid_t, Child> children_;
  size_t total_ = 0;
  ExecutionSummary summary_;
};

}  // namespace

ExecutionSummary execute_locally(const SweepFolder& folder, const SweepPlan& plan, const LocalExecution& options) {
  return Executor(folder, plan, options).execute();
}

}  // namespace tsugi
