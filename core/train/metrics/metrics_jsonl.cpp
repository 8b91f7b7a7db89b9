#include "core/train/metrics/metrics_jsonl.h"

#include <glog/logging.h>

#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>

#include "core/data/file.h"

namespace tsugi {
namespace {

/// One object on a line.
class Line {
 public:
  explicit Line(int64_t step) : text_("{\"step\":" + std::to_string(step)) {}

  Line& add(const std::string& key, int64_t value) {
    text_ += std::string(",\"") + key + "\":" + std::to_string(value);
    return *this;
  }
  Line& add(const std::string& key, double value) {
    text_ += std::string(",\"") + key + "\":";
    if (std::isfinite(value)) {
      char buffer[32];
      const std::string number(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
      text_ += number;
      // Readers tell integers from doubles by their look, and an integer has no -0.
      if (number.find_first_of(".e") == std::string::npos) text_ += ".0";
    } else {
      text_ += "null";
      nonfinite_ = true;
    }
    return *this;
  }
  std::string finish() const { return text_ + (nonfinite_ ? ",\"nonfinite\":true}\n" : "}\n"); }

 private:
  std::string text_;
  bool nonfinite_ = false;
};

/// The step of a line as Line writes it; none for a torn or foreign one.
std::optional<int64_t> step_of(std::string_view line) {
  constexpr std::string_view kBegin = "{\"step\":";
  if (!line.starts_with(kBegin) || !line.ends_with('}')) return {};
  int64_t step = 0;
  const auto [end, error] = std::from_chars(line.data() + kBegin.size(), line.data() + line.size(), step);
  if (error != std::errc() || *end != ',') return {};
  return step;
}

/// Calls `keep(line)` for the lines that stay, each with its newline; returns whether others were there.
template <class Keep>
bool filter(const std::string& path, int64_t start_step, Keep&& keep) {
  std::ifstream in(path, std::ios::binary);
  bool dropped = false;
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    const bool torn = in.eof();  // no newline ends it
    const std::optional<int64_t> step = step_of(line);
    if (torn || !step || *step > start_step) {
      dropped = true;
      LOG_IF(WARNING, !torn && !step) << path << ": line " << number << " is not a line of metrics and is dropped";
    } else {
      keep(line + '\n');
    }
  }
  return dropped;
}

/// Leaves the lines of steps up to `start_step` in the file.
void cut(const std::string& path, int64_t start_step) {
  if (!std::filesystem::is_regular_file(path)) return;
  DurableFile file(path);
  std::string buffer;
  const auto write = [&] {
    file.write(std::as_bytes(std::span(buffer)));
    buffer.clear();
  };
  const bool dropped = filter(path, start_step, [&](const std::string& line) {
    buffer += line;
    if (buffer.size() >= (1 << 20)) write();
  });
  write();
  if (dropped) file.commit();
}

std::string prepared(const std::string& path, int64_t start_step) {
  try {
    cut(path, start_step);
  } catch (const std::exception& error) {
    LOG(WARNING) << error.what() << "; " << path << " keeps lines of steps that are done again";
  }
  return path;
}

}  // namespace

MetricsJsonl::MetricsJsonl(const std::string& path, int64_t start_step) : file_(prepared(path, start_step)) {}

void MetricsJsonl::step(const StepMetrics& metrics) {
  file_.append(Line(metrics.step)
                   .add("tokens", metrics.tokens)
                   .add("loss", metrics.loss)
                   .add("learning_rate", metrics.learning_rate)
                   .add("grad_norm", metrics.gradient_norm)
                   .add("tokens_per_second", metrics.tokens_per_second)
                   .add("mfu", metrics.mfu)
                   .add("seconds", metrics.seconds)
                   .add("exposed_seconds", metrics.exposed_seconds)
                   .finish());
}

void MetricsJsonl::evaluation(const EvaluationMetrics& metrics) {
  Line line(metrics.step);
  line.add("validation_loss", metrics.loss);
  if (metrics.accuracy) line.add("validation_accuracy", *metrics.accuracy);
  for (const auto& [name, score] : metrics.scores) line.add(name.c_str(), score);
  file_.append(line.finish());
}

void MetricsJsonl::flush() { file_.sync(); }

}  // namespace tsugi
