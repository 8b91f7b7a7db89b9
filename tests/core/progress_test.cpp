#include "core/train/metrics/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>

namespace tsugi {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ProgressTest : public ::testing::Test {
 protected:
  ~ProgressTest() override {
    if (out_ != nullptr) std::fclose(out_);
    std::free(text_);
  }
  std::string text() {
    std::fflush(out_);
    return {text_, size_};
  }
  ProgressOptions options(bool terminal, int columns = 80) {
    return {terminal, 10, [columns] { return columns; }, [this] { return now_; }};
  }
  /// Reports a step that took `seconds`.
  void step(Progress& progress, int64_t number, double seconds = 0.1, int64_t steps = 2000) {
    now_ += seconds;
    StepMetrics metrics;
    metrics.step = number;
    metrics.steps = steps;
    metrics.loss = 3.21009;
    metrics.learning_rate = 1e-4;
    metrics.gradient_norm = 1.234;
    metrics.seconds = seconds;
    metrics.tokens_per_second = 1230.0 / seconds;
    metrics.mfu = 0.0345 / seconds;
    progress.step(metrics);
  }

  char* text_ = nullptr;
  size_t size_ = 0;
  std::FILE* out_ = open_memstream(&text_, &size_);
  double now_ = 100.0;
};

TEST_F(ProgressTest, PlainLines) {
  Progress progress(out_, options(false));
  for (int64_t number = 1; number <= 25; ++number) step(progress, number);
  progress.evaluation({25, 2.5, std::nullopt});
  progress.evaluation({25, 2.5, 0.815});
  EXPECT_EQ(text(),
            "step 1/2000  loss 3.2101  lr 1.00e-04  norm 1.23  12.3k tok/s  mfu 34.5 %  eta 3m20s\n"
            "step 10/2000  loss 3.2101  lr 1.00e-04  norm 1.23  12.3k tok/s  mfu 34.5 %  eta 3m19s\n"
            "step 20/2000  loss 3.2101  lr 1.00e-04  norm 1.23  12.3k tok/s  mfu 34.5 %  eta 3m18s\n"
            "step 25/2000  validation loss 2.5000\n"
            "step 25/2000  validation loss 2.5000  accuracy 81.5 %\n");
}

TEST_F(ProgressTest, TheLastStepHasALine) {
  Progress progress(out_, options(false));
  step(progress, 1, 0.1, 3);
  step(progress, 2, 0.1, 3);
  step(progress, 3, 0.1, 3);
  EXPECT_EQ(text(),
            "step 1/3  loss 3.2101  lr 1.00e-04  norm 1.23  12.3k tok/s  mfu 34.5 %  eta 0s\n"
            "step 3/3  loss 3.2101  lr 1.00e-04  norm 1.23  12.3k tok/s  mfu 34.5 %  eta 0s\n");
}

TEST_F(ProgressTest, SpeedIsTheMeanSinceTheLastLine) {
  Progress progress(out_, options(false));
  step(progress, 9, 1.0);
  step(progress, 11, 1.0);
  step(progress, 12, 1.0);
  step(progress, 20, 8.0);  // 3 · 1230 tokens in 10 s, not the 154 of the last step
  EXPECT_THAT(text(), HasSubstr("step 20/2000  loss 3.2101  lr 1.00e-04  norm 1.23  369 tok/s  mfu 1.0 %"));
}

TEST_F(ProgressTest, TimeLeftCountsEvaluationsToo) {
  Progress progress(out_, options(false));
  step(progress, 1, 1.0, 101);
  now_ += 90.0;  // an evaluation
  for (int64_t number = 2; number <= 10; ++number) step(progress, number, 1.0, 101);
  // 9 steps in 99 s; 91 to go at 11 s each.
  EXPECT_THAT(text(), HasSubstr("eta 16m41s\n"));
}

TEST_F(ProgressTest, WhatIsNotANumberIsSaid) {
  Progress progress(out_, options(false));
  StepMetrics metrics;
  metrics.step = 10;
  metrics.steps = 20;
  metrics.loss = std::numeric_limits<double>::quiet_NaN();
  progress.step(metrics);
  EXPECT_THAT(text(), HasSubstr("loss nan"));
}

TEST_F(ProgressTest, LiveLine) {
  {
    Progress progress(out_, options(true));
    step(progress, 1000);
    EXPECT_EQ(text(), "\r\x1b[Kstep 1000/2000 [======      ]  loss 3.2101  1m40s left  12.3k tok/s  mfu 34.5 %");
    progress.evaluation({1000, 2.5, std::nullopt});
    EXPECT_THAT(text(), HasSubstr("\r\x1b[Kstep 1000/2000  validation loss 2.5000\nstep 1000/2000 [==="));
  }
  EXPECT_EQ(text().back(), '\n');
}

TEST_F(ProgressTest, LiveLineIsDrawnTenTimesASecondAtMost) {
  Progress progress(out_, options(true));
  for (int64_t number = 1; number <= 1000; ++number) step(progress, number, 0.001);
  const std::string all = text();
  EXPECT_THAT(std::count(all.begin(), all.end(), '\r'), ::testing::AllOf(::testing::Ge(9), ::testing::Le(11)));
}

TEST_F(ProgressTest, ALiveLineNeverWraps) {
  for (int columns = 1; columns <= 200; ++columns) {
    const size_t before = text().size();
    Progress progress(out_, options(true, columns));
    step(progress, 1999);
    const std::string line = text().substr(before + 4);  // after \r ESC [ K
    EXPECT_LE(static_cast<int>(line.size()), std::max(1, columns - 1)) << columns;
    EXPECT_THAT(line, HasSubstr(std::string("step 1999/2000").substr(0, line.size()))) << columns;
    if (columns >= 30) {
      EXPECT_THAT(line, HasSubstr("loss 3.2101")) << columns;
    }
  }
}

TEST_F(ProgressTest, AFullDiskDoesNotEndTheRun) {
  std::FILE* full = std::fopen("/dev/full", "w");
  ASSERT_NE(full, nullptr);
  {
    Progress progress(full, options(false));
    for (int64_t number = 1; number <= 30; ++number) step(progress, number);
  }
  std::fclose(full);
}

TEST(Format, Duration) {
  EXPECT_EQ(format_duration(0.4), "0s");
  EXPECT_EQ(format_duration(59.4), "59s");
  EXPECT_EQ(format_duration(59.6), "1m00s");
  EXPECT_EQ(format_duration(200), "3m20s");
  EXPECT_EQ(format_duration(7500), "2h05m");
  EXPECT_EQ(format_duration(97200), "1d03h");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_duration(std::nan("")), "?");
  EXPECT_EQ(format_duration(1e300), "?");
}

TEST(Format, Count) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999.4), "999");
  EXPECT_EQ(format_count(999.6), "1.00k");
  EXPECT_EQ(format_count(9999), "10.0k");
  EXPECT_EQ(format_count(12345), "12.3k");
  EXPECT_EQ(format_count(123456), "123k");
  EXPECT_EQ(format_count(3.74e6), "3.74M");
  EXPECT_EQ(format_count(1.2e9), "1.20G");
}

TEST(Terminal, AFileIsNone) {
  std::FILE* file = std::tmpfile();
  EXPECT_FALSE(is_terminal(file));
  std::fclose(file);
}

}  // namespace
}  // namespace tsugi
