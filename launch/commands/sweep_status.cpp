#include "launch/sweep/sweep_status.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/train/metrics/progress.h"
#include "launch/commands/sweep.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct StatusCommand {
  std::string config;
  std::vector<std::string> overrides;
  std::string out;
  double every = 2.0;
  bool once = false;
  bool json = false;
};

/// What Slurm has of it; nothing, after one word on standard error, where that cannot be known.
class SlurmQueue {
 public:
  explicit SlurmQueue(const SweepFolder& folder) : folder_(folder) {}

  /// Asks again when the answer is `oldest` seconds old: controllers serve everybody.
  const std::map<std::string, QueuedTask>& queued(double now, double oldest) {
    if (now - asked_ < oldest) return queued_;
    asked_ = now;
    try {
      queued_ = queued_runs(folder_);
    } catch (const Error& error) {
      // Also where the folder is only looked at, from a machine without Slurm.
      if (!complained_) std::cerr << "what Slurm has queued is not known: " << error.what() << std::endl;
      complained_ = true;
      queued_.clear();
    }
    return queued_;
  }

 private:
  const SweepFolder& folder_;
  std::map<std::string, QueuedTask> queued_;
  double asked_ = -HUGE_VAL;
  bool complained_ = false;
};

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The table, written over itself until the sweep has ended or somebody presses Ctrl-C.
void watch(const StatusCommand& command, SweepStatus& status, SlurmQueue& queue) {
  constexpr double kOldestQueue = 15.0;
  const double begin = seconds_now();
  double first_share = 0.0;
  size_t height = 0;  // of what stands on the screen
  for (bool first = true;; first = false) {
    const double now = seconds_now();
    status.look(queue.queued(now, kOldestQueue));
    const double share = status.share();
    if (first) first_share = share;
    const double gained = share - first_share;
    const double left = gained > 0.0 && !status.finished() ? (now - begin) * (1.0 - share) / gained : NAN;
    winsize size{};
    const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0;
    // The last row and column stay free: terminals scroll or wrap there.
    const int rows = (known ? size.ws_row : 24) - 1, columns = (known ? size.ws_col : 80) - 1;
    const std::vector<std::string> lines = status.live_text(rows, columns, left);
    // A window that has become lower shows the end of what was there.
    std::string text;
    const size_t up = std::min(height, static_cast<size_t>(std::max(0, rows)));
    if (up > 0) text += "\x1b[" + std::to_string(up) + "A";
    for (const std::string& line : lines) text += "\r" + line + "\x1b[K\n";
    text += "\x1b[J";  // what was longer before
    std::fputs(text.c_str(), stdout);
    if (std::fflush(stdout) != 0) throw Error(ExitCode::kInputOutput, "cannot write to standard output");
    height = lines.size();
    if (status.finished()) return;
    std::this_thread::sleep_for(std::chrono::duration<double>(command.every));
  }
}

void show_status(const StatusCommand& command) {
  const LoadedSweep loaded = load_sweep(command.config, command.overrides);
  const SweepFolder folder(command.out);
  SweepStatus status(folder, loaded.plan);
  SlurmQueue queue(folder);
  if (!command.json && !command.once && is_terminal(stdout)) return watch(command, status, queue);
  status.look(queue.queued(seconds_now(), 0.0));
  if (command.json) {
    std::cout << status.json().dump() << std::endl;
  } else {
    std::cout << status.plain_text() << std::flush;
  }
}

}  // namespace

void add_sweep_status(Command sweep) {
  auto options = std::make_shared<StatusCommand>();
  Command watching = sweep.subcommand(
      "status", "How far the runs of a sweep are: on a terminal a live table until it has ended or Ctrl-C");
  add_sweep_file(watching, options->config, options->overrides, options->json);
  watching.option("--out", options->out, "the sweep's folder").required();
  watching.option("--every", options->every, "seconds between looks at the folder, on a terminal")
      .range(0.1, 3600.0)
      .show_default();
  watching.flag("--once", options->once, "print the table once, on a terminal too");
  watching.run([options] { return show_status(*options), 0; });
}

}  // namespace tsugi
