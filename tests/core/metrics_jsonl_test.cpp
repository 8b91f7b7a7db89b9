#include "core/train/metrics/metrics_jsonl.h"

#include <glog/logging.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bit>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/data/file.h"
#include "ops/tensor/philox.h"

namespace tsugi {
namespace {

/// Counts warnings.
class Warnings : public google::LogSink {
 public:
  Warnings() { google::AddLogSink(this); }
  ~Warnings() override { google::RemoveLogSink(this); }
  void send(google::LogSeverity severity, const char*, const char*, int, const google::LogMessageTime&,
            const char* message, size_t length) override {
    if (severity == google::GLOG_WARNING) text.emplace_back(message, length);
  }
  using google::LogSink::send;
  std::vector<std::string> text;
};

class MetricsJsonlTest : public ::testing::Test {
 protected:
  MetricsJsonlTest() : folder_(::testing::TempDir() + "metrics_jsonl_" + std::to_string(getpid())) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    path_ = folder_ + "/metrics.jsonl";
  }
  ~MetricsJsonlTest() override { std::filesystem::remove_all(folder_); }

  std::string folder_;
  std::string path_;
};

StepMetrics sample(int64_t step) {
  StepMetrics metrics;
  metrics.step = step;
  metrics.steps = 100;
  metrics.tokens = 768 * step;
  metrics.loss = 4.25;
  metrics.learning_rate = 1e-3;
  metrics.gradient_norm = 2.5;
  metrics.seconds = 0.085;
  metrics.tokens_per_second = 9000.5;
  metrics.mfu = 0.25;
  metrics.exposed_seconds = 0.0;
  return metrics;
}

constexpr char kFirstLines[] =
    "{\"step\":1,\"tokens\":768,\"loss\":4.25,\"learning_rate\":0.001,\"grad_norm\":2.5,"
    "\"tokens_per_second\":9000.5,\"mfu\":0.25,\"seconds\":0.085,\"exposed_seconds\":0.0}\n";

TEST_F(MetricsJsonlTest, Lines) {
  MetricsJsonl sink(path_, 0);
  sink.step(sample(1));
  sink.evaluation({1, 2.5, std::nullopt});
  sink.evaluation({2, 2.125, 0.5});
  // Read while the sink is open: nothing waits in a buffer.
  EXPECT_EQ(read_file(path_, 1 << 24), std::string(kFirstLines) + "{\"step\":1,\"validation_loss\":2.5}\n" +
                                           "{\"step\":2,\"validation_loss\":2.125,\"validation_accuracy\":0.5}\n");
}

TEST_F(MetricsJsonlTest, WhatIsNotFiniteIsNull) {
  StepMetrics metrics = sample(1);
  metrics.loss = std::numeric_limits<double>::quiet_NaN();
  metrics.gradient_norm = -std::numeric_limits<double>::infinity();
  MetricsJsonl sink(path_, 0);
  sink.step(metrics);
  const auto line = nlohmann::json::parse(read_file(path_, 1 << 24));
  EXPECT_TRUE(line["loss"].is_null());
  EXPECT_TRUE(line["grad_norm"].is_null());
  EXPECT_EQ(line["nonfinite"], true);
  EXPECT_EQ(line["mfu"], 0.25);
}

TEST_F(MetricsJsonlTest, NumbersReadBackBitForBit) {
  std::vector<double> values = {0.1, 1.0 / 3.0, 5e-324, std::numeric_limits<double>::max(), 1e23, -0.0, 123456789.0};
  const RandomStream random{1, 2, 3};
  for (uint32_t i = 0; i < 500; ++i) {
    const Philox4 words = random.block(i);
    const uint64_t bits = uint64_t{words[0]} << 32 | words[1];
    double value = 0.0;
    std::memcpy(&value, &bits, sizeof value);
    if (std::isfinite(value)) values.push_back(value);
  }
  {
    MetricsJsonl sink(path_, 0);
    for (const double value : values) sink.evaluation({1, value, std::nullopt});
  }
  std::ifstream in(path_);
  for (const double value : values) {
    std::string line;
    ASSERT_TRUE(std::getline(in, line));
    const double back = nlohmann::json::parse(line)["validation_loss"].get<double>();
    EXPECT_EQ(std::bit_cast<uint64_t>(back), std::bit_cast<uint64_t>(value)) << line;
  }
}

TEST_F(MetricsJsonlTest, AResumedRunGoesOnBehindItsCheckpoint) {
  {
    MetricsJsonl sink(path_, 0);
    for (int64_t step = 1; step <= 5; ++step) sink.step(sample(step));
    sink.evaluation({5, 1.0, std::nullopt});
  }
  std::ofstream(path_, std::ios::app) << "{\"step\":6,\"tokens\":46";  // killed in the middle
  Warnings warnings;
  {
    MetricsJsonl sink(path_, 3);
    sink.step(sample(4));
  }
  EXPECT_TRUE(warnings.text.empty()) << warnings.text.front();  // a torn line is nothing out of the ordinary
  std::ifstream in(path_);
  std::vector<int> steps;
  for (std::string line; std::getline(in, line);) steps.push_back(nlohmann::json::parse(line)["step"].get<int>());
  EXPECT_EQ(steps, (std::vector<int>{1, 2, 3, 4}));
  EXPECT_EQ(read_file(path_, 1 << 24).substr(0, sizeof kFirstLines - 1), kFirstLines);
  // Nothing else is left in the folder.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), std::filesystem::directory_iterator{}), 1);
}

TEST_F(MetricsJsonlTest, ATornLineGoesEvenIfItsStepStays) {
  std::ofstream(path_) << kFirstLines << "{\"step\":2,\"validation_loss\":2.5}";  // complete, but for the newline
  MetricsJsonl sink(path_, 2);
  EXPECT_EQ(read_file(path_, 1 << 24), kFirstLines);
}

TEST_F(MetricsJsonlTest, DamagedLinesAreNamedAndDropped) {
  std::ofstream(path_) << kFirstLines << std::string(100, '\0') << "\n{\"loss\":1}\n{\"step\":x}\n"
                       << "{\"step\":1,\"validation_loss\":2.5}\n";
  Warnings warnings;
  MetricsJsonl sink(path_, 9);
  EXPECT_EQ(read_file(path_, 1 << 24), std::string(kFirstLines) + "{\"step\":1,\"validation_loss\":2.5}\n");
  ASSERT_EQ(warnings.text.size(), 3u);
  EXPECT_EQ(warnings.text[0], path_ + ": line 2 is not a line of metrics and is dropped");
}

TEST_F(MetricsJsonlTest, AnIntactFileIsNotRewritten) {
  {
    MetricsJsonl(path_, 0).step(sample(1));
  }
  const auto before = std::filesystem::last_write_time(path_);
  {
    MetricsJsonl sink(path_, 1);
  }
  EXPECT_EQ(std::filesystem::last_write_time(path_), before);
  EXPECT_EQ(read_file(path_, 1 << 24), kFirstLines);
}

TEST_F(MetricsJsonlTest, AFullDiskWarnsOnceAndTheRunGoesOn) {
  Warnings warnings;
  MetricsJsonl sink("/dev/full", 0);
  for (int64_t step = 1; step <= 5; ++step) sink.step(sample(step));
  sink.flush();
  ASSERT_EQ(warnings.text.size(), 1u);
  EXPECT_EQ(warnings.text[0],
            "cannot write /dev/full: No space left on device; training goes on without these records");
}

TEST_F(MetricsJsonlTest, AFolderThatIsNotThereWarnsOnce) {
  Warnings warnings;
  MetricsJsonl sink(folder_ + "/missing/metrics.jsonl", 0);
  sink.step(sample(1));
  EXPECT_EQ(warnings.text.size(), 1u);
}

TEST_F(MetricsJsonlTest, ALineThatDoesNotFitIsTakenBack) {
  MetricsJsonl sink(path_, 0);
  sink.step(sample(1));
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = sizeof kFirstLines - 1 + 20;  // the first line and 20 bytes of the next
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  Warnings warnings;
  sink.step(sample(2));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(read_file(path_, 1 << 24), kFirstLines);
  EXPECT_EQ(warnings.text.size(), 1u);
  sink.evaluation({3, 1.0, std::nullopt});  // there is space again
  EXPECT_EQ(read_file(path_, 1 << 24), std::string(kFirstLines) + "{\"step\":3,\"validation_loss\":1.0}\n");
}

}  // namespace
}  // namespace tsugi
