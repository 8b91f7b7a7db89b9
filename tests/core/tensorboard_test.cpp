#include "core/train/metrics/tensorboard.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <vector>

#include "core/data/file.h"
#include "core/train/metrics/event.pb.h"

namespace tsugi {
namespace {

/// CRC-32C bit by bit, from its polynomial.
uint32_t slow_crc32c(std::string_view bytes) {
  uint32_t crc = 0xffffffffu;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
  }
  return ~crc;
}

template <class T>
T value_at(std::string_view bytes, size_t offset) {
  T value{};
  EXPECT_LE(offset + sizeof value, bytes.size());
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

void expect_masked_crc(std::string_view bytes, uint32_t stored) {
  const uint32_t rotated = stored - 0xa282ead8u;
  EXPECT_EQ(rotated >> 17 | rotated << 15, slow_crc32c(bytes));
}

/// The events of a file, its checksums checked.
std::vector<tensorboard::Event> events_of(const std::string& path) {
  const std::string bytes = read_file(path, 1 << 24);
  std::vector<tensorboard::Event> events;
  for (size_t at = 0; at < bytes.size();) {
    const auto length = value_at<uint64_t>(bytes, at);
    expect_masked_crc(std::string_view(bytes).substr(at, 8), value_at<uint32_t>(bytes, at + 8));
    const std::string_view data = std::string_view(bytes).substr(at + 12, length);
    expect_masked_crc(data, value_at<uint32_t>(bytes, at + 12 + length));
    EXPECT_TRUE(events.emplace_back().ParseFromString(std::string(data)));
    at += 16 + length;
  }
  return events;
}

class TensorBoardTest : public ::testing::Test {
 protected:
  TensorBoardTest() : folder_(::testing::TempDir() + "tensorboard_" + std::to_string(getpid()) + "/deep/er") {}
  ~TensorBoardTest() override {
    std::filesystem::remove_all(std::filesystem::path(folder_).parent_path().parent_path());
  }
  std::string folder_;
};

TEST_F(TensorBoardTest, TheBytesAreThoseThatTensorBoardWrites) {
  StepMetrics metrics;
  metrics.step = 3;
  metrics.loss = 2.5;
  metrics.learning_rate = 1e-3;
  metrics.gradient_norm = std::numeric_limits<double>::infinity();
  metrics.tokens_per_second = 12345.678;
  TensorBoard sink(folder_, 2, [] { return 1700000000.25; });
  sink.step(metrics);
  sink.evaluation({3, 2.25, 0.75});
  EXPECT_EQ(read_file(sink.path(), 1 << 24),
            read_file(TSUGI_SOURCE_DIR "/tests/golden/tensorboard_events.bin", 1 << 24));
}

TEST_F(TensorBoardTest, Records) {
  double now = 1700000000.0;
  TensorBoard sink(folder_, 0, [&] { return now; });
  EXPECT_EQ(sink.path().rfind(folder_ + "/events.out.tfevents.1700000000.", 0), 0u);
  StepMetrics metrics;
  metrics.step = 1;
  metrics.loss = 0.1;
  now += 2.0;
  sink.step(metrics);
  sink.evaluation({1, 0.2, std::nullopt});
  sink.flush();
  const std::vector<tensorboard::Event> events = events_of(sink.path());
  ASSERT_EQ(events.size(), 3u);  // a run that begins voids nothing
  EXPECT_EQ(events[0].file_version(), "brain.Event:2");
  EXPECT_EQ(events[1].step(), 1);
  EXPECT_EQ(events[1].wall_time(), 1700000002.0);
  ASSERT_EQ(events[1].summary().value_size(), 5);
  EXPECT_EQ(events[1].summary().value(0).tag(), "loss");
  EXPECT_EQ(events[1].summary().value(0).simple_value(), 0.1f);
  ASSERT_EQ(events[2].summary().value_size(), 1);
  EXPECT_EQ(events[2].summary().value(0).tag(), "validation_loss");
}

TEST_F(TensorBoardTest, AFolderThatCannotBeMadeDoesNotEndTheRun) {
  TensorBoard sink("/dev/null/tensorboard", 0);
  sink.step({});
  sink.evaluation({1, 0.2, std::nullopt});
  sink.flush();
}

}  // namespace
}  // namespace tsugi
