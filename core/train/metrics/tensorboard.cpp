#include "core/train/metrics/tensorboard.h"

#include <glog/logging.h>
#include <unistd.h>

#include <bit>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <span>
#include <system_error>
#include <utility>

#include "core/data/crc32c.h"
#include "core/train/metrics/event.pb.h"

namespace tsugi {
namespace {

static_assert(std::endian::native == std::endian::little, "records are written as they lie in memory");

// A CRC of data that holds CRCs would be weak: the format rotates and shifts it.
uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(std::as_bytes(std::span(bytes)));
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

template <class T>
std::string event_bytes(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

std::string record(const tensorboard::Event& event) {
  const std::string data = event.SerializeAsString();
  const std::string length = event_bytes(static_cast<uint64_t>(data.size()));
  return length + event_bytes(masked_crc(length)) + data + event_bytes(masked_crc(data));
}

void add(tensorboard::Event& event, const std::string& tag, double value) {
  tensorboard::Summary::Value& entry = *event.mutable_summary()->add_value();
  entry.set_tag(tag);
  entry.set_simple_value(static_cast<float>(value));
}

tensorboard::Event event_at(double seconds, int64_t step) {
  tensorboard::Event event;
  event.set_wall_time(seconds);
  event.set_step(step);
  return event;
}

std::string new_file(const std::string& folder, double seconds) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  LOG_IF(WARNING, error) << "cannot create " << folder << ": " << error.message();
  char host[256] = "";
  if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') std::strcpy(host, "localhost");
  return folder + "/events.out.tfevents." + std::to_string(static_cast<int64_t>(seconds)) + "." + host + "." +
         std::to_string(getpid());
}

}  // namespace

double TensorBoard::wall_clock() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

TensorBoard::TensorBoard(const std::string& folder, int64_t start_step, std::function<double()> clock)
    : clock_(std::move(clock)), file_(new_file(folder, clock_())) {
  tensorboard::Event version = event_at(clock_(), 0);
  version.set_file_version("brain.Event:2");
  file_.append(record(version));
  if (start_step > 0) {
    tensorboard::Event start = event_at(clock_(), start_step + 1);
    start.mutable_session_log()->set_status(tensorboard::SessionLog::START);
    file_.append(record(start));
  }
}

void TensorBoard::step(const StepMetrics& metrics) {
  tensorboard::Event event = event_at(clock_(), metrics.step);
  add(event, "loss", metrics.loss);
  add(event, "learning_rate", metrics.learning_rate);
  add(event, "grad_norm", metrics.gradient_norm);
  add(event, "tokens_per_second", metrics.tokens_per_second);
  add(event, "mfu", metrics.mfu);
  file_.append(record(event));
}

void TensorBoard::evaluation(const EvaluationMetrics& metrics) {
  tensorboard::Event event = event_at(clock_(), metrics.step);
  add(event, "validation_loss", metrics.loss);
  if (metrics.accuracy) add(event, "validation_accuracy", *metrics.accuracy);
  for (const auto& [name, score] : metrics.scores) add(event, name, score);
  file_.append(record(event));
}

void TensorBoard::flush() { file_.sync(); }

}  // namespace tsugi
