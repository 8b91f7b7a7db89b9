#include "launch/run_sinks.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/train/metrics/metrics_jsonl.h"
#include "core/train/metrics/progress.h"
#include "core/train/metrics/tensorboard.h"

namespace tsugi {
namespace {

/// Whether a person watches `out`. mpirun gives every rank a pseudo-terminal, also when its own output goes to a file:
/// then what counts is where the launcher's output goes.
bool is_watched(std::FILE* out) {
  if (!is_terminal(out)) return false;
  if (std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr) return true;
  std::error_code failure;
  const std::string launcher = "/proc/" + std::to_string(getppid()) + "/fd/" + std::to_string(fileno(out));
  const std::string target = std::filesystem::read_symlink(launcher, failure).string();
  return !failure && (target.starts_with("/dev/pts/") || target.starts_with("/dev/tty"));
}

}  // namespace

std::vector<std::unique_ptr<MetricsSink>> make_run_sinks(const std::string& run_directory, int64_t start_step,
                                                         const RunConfig& config, bool json) {
  std::vector<std::unique_ptr<MetricsSink>> sinks;
  sinks.push_back(std::make_unique<MetricsJsonl>(run_directory + "/metrics.jsonl", start_step));
  sinks.push_back(std::make_unique<TensorBoard>(run_directory + "/tensorboard", start_step));
  std::FILE* out = json ? stderr : stdout;
  ProgressOptions options;
  options.terminal = is_watched(out);
  options.every_steps = config.logging().every_steps();
  sinks.push_back(std::make_unique<Progress>(out, options));
  return sinks;
}

}  // namespace tsugi
