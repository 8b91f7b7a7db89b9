#include "core/train/metrics/progress.h"

#include <glog/logging.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace tsugi {
namespace {

constexpr double kLivePeriod = 0.1;

template <class... Arguments>
std::string print(const char* format, Arguments... arguments) {
  char buffer[128];
  std::snprintf(buffer, sizeof buffer, format, arguments...);
  return buffer;
}

int columns_of(std::FILE* file) {
  winsize size{};
  if (ioctl(fileno(file), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string counter(int64_t step, int64_t steps) {
  return "step " + std::to_string(step) + "/" + std::to_string(steps);
}

}  // namespace

bool is_terminal(std::FILE* file) {
  const char* kind = std::getenv("TERM");
  return isatty(fileno(file)) != 0 && kind != nullptr && *kind != '\0' && std::strcmp(kind, "dumb") != 0;
}

std::string format_duration(double seconds) {
  if (!(seconds >= 0.0) || seconds > 1e10) return "?";
  const auto total = static_cast<long long>(std::llround(seconds));
  if (total < 60) return print("%llds", total);
  if (total < 3600) return print("%lldm%02llds", total / 60, total % 60);
  if (total < 86400) return print("%lldh%02lldm", total / 3600, total / 60 % 60);
  return print("%lldd%02lldh", total / 86400, total / 3600 % 24);
}

std::string format_count(double count) {
  const char* unit = "";
  for (const char* next : {"k", "M", "G", "T"}) {
    if (!(count >= 999.5)) break;
    count /= 1000.0;
    unit = next;
  }
  const int digits = *unit == '\0' || count >= 99.95 ? 0 : count >= 9.995 ? 1 : 2;
  return print("%.*f%s", digits, count, unit);
}

Progress::Progress(std::FILE* out, ProgressOptions options) : out_(out), options_(std::move(options)) {
  if (!options_.columns) options_.columns = [out] { return columns_of(out); };
  if (!options_.clock) options_.clock = steady_seconds;
}

Progress::~Progress() {
  if (!live_.empty()) put("\n");
  flush();
}

std::string Progress::speed() const { return format_count(pace_.tokens / pace_.seconds) + " tok/s"; }

std::string Progress::utilization() const { return print("mfu %.1f %%", 100.0 * pace_.useful_seconds / pace_.seconds); }

double Progress::seconds_left(const StepMetrics& metrics) const {
  const auto left = static_cast<double>(metrics.steps - metrics.step);
  if (metrics.step <= first_step_) return left * metrics.seconds;
  return left * (options_.clock() - first_time_) / static_cast<double>(metrics.step - first_step_);
}

std::string Progress::plain_line(const StepMetrics& metrics) const {
  return counter(metrics.step, metrics.steps) +
         print("  loss %.4f  lr %.2e  norm %.2f  ", metrics.loss, metrics.learning_rate, metrics.gradient_norm) +
         speed() + "  " + utilization() + "  eta " + format_duration(seconds_left(metrics));
}

std::string Progress::live_line(const StepMetrics& metrics) const {
  // The last column stays free: some terminals wrap there. What does not fit goes, the least important first.
  const int room = std::max(1, options_.columns() - 1);
  const std::string head = counter(metrics.step, metrics.steps);
  std::string tail;
  for (const std::string& part :
       {print("loss %.4f", metrics.loss), format_duration(seconds_left(metrics)) + " left", speed(), utilization()}) {
    if (static_cast<int>(head.size() + tail.size() + part.size()) + 2 > room) break;
    tail += "  " + part;
  }
  constexpr int kShortestBar = 10;
  constexpr int kLongestBar = 40;
  const int bar = std::min(kLongestBar, room - static_cast<int>(head.size() + tail.size()) - 3);
  std::string line = head;
  if (bar >= kShortestBar) {
    const int done = static_cast<int>(metrics.step * bar / std::max<int64_t>(1, metrics.steps));
    line +=
        " [" + std::string(static_cast<size_t>(done), '=') + std::string(static_cast<size_t>(bar - done), ' ') + "]";
  }
  return (line + tail).substr(0, static_cast<size_t>(room));
}

void Progress::step(const StepMetrics& metrics) {
  const double now = options_.clock();
  const bool first = steps_ == 0;
  const bool last = metrics.step == metrics.steps;
  if (first) {
    first_step_ = metrics.step;
    first_time_ = now;
  }
  steps_ = metrics.steps;
  pace_.tokens += metrics.tokens_per_second * metrics.seconds;
  pace_.useful_seconds += metrics.mfu * metrics.seconds;
  pace_.seconds += metrics.seconds;
  if (options_.terminal) {
    if (!first && !last && now - last_live_ < kLivePeriod) return;
    last_live_ = now;
    live_ = live_line(metrics);
    put("\r\x1b[K" + live_);
  } else {
    if (!first && !last && metrics.step % options_.every_steps != 0) return;
    put(plain_line(metrics) + "\n");
  }
  pace_ = {};
}

void Progress::evaluation(const EvaluationMetrics& metrics) {
  std::string line = steps_ > 0 ? counter(metrics.step, steps_) : "step " + std::to_string(metrics.step);
  line += print("  validation loss %.4f", metrics.loss);
  if (metrics.accuracy) line += print("  accuracy %.1f %%", 100.0 * *metrics.accuracy);
  for (const auto& [name, score] : metrics.scores) {
    line += "  " + name + (name.ends_with("_loss") ? print(" %.4f", score) : print(" %.1f %%", 100.0 * score));
  }
  put((live_.empty() ? "" : "\r\x1b[K") + line + "\n" + live_);
}

void Progress::flush() { put(""); }

void Progress::put(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), out_) == text.size() && std::fflush(out_) == 0) return;
  const int number = errno;
  std::clearerr(out_);
  if (!std::exchange(warned_, true)) LOG(WARNING) << "cannot show the progress: " << std::strerror(number);
}

}  // namespace tsugi
