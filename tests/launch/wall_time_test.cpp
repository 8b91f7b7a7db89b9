// The length of a sweep from its tasks' FLOPs, against schedules worked out by hand.
#include "launch/sweep/wall_time.h"

#include <gtest/gtest.h>

#include <vector>

namespace tsugi {
namespace {

SweepTask task_of(double flops, double chain, int after = -1) {
  SweepTask task;
  task.flops = flops;
  task.chain = chain;
  task.after = after;
  return task;
}

TEST(WallTime, LongestFirstOnLanes) {
  const std::vector<SweepTask> tasks{task_of(3, 3), task_of(3, 3), task_of(4, 4), task_of(2, 2), task_of(6, 6)};
  EXPECT_DOUBLE_EQ(predicted_seconds(tasks, 1, 2.0), 9.0);
  // 6 and 4; 3 after 4, 3 after 6; 2 after the first 3: 6 + 3, 4 + 3 + 2.
  EXPECT_DOUBLE_EQ(predicted_seconds(tasks, 2, 1.0), 9.0);
  EXPECT_DOUBLE_EQ(predicted_seconds(tasks, 100, 1.0), 6.0);
}

TEST(WallTime, BranchesWaitForTheirTrunk) {
  // A trunk of 5, two branches of 2 and 3, and a run of 4 that waits for nobody.
  const std::vector<SweepTask> tasks{task_of(5, 8), task_of(2, 2, 0), task_of(3, 3, 0), task_of(4, 4)};
  EXPECT_DOUBLE_EQ(predicted_seconds(tasks, 2, 1.0), 8.0);
  EXPECT_DOUBLE_EQ(predicted_seconds(tasks, 1, 1.0), 14.0);
}

TEST(WallTime, MeasuresUnlessToldTheRate) {
  const std::vector<SweepTask> tasks{task_of(1e12, 1e12), task_of(1e12, 1e12)};
  const WallTime told = predict_wall_time(tasks, {}, 2, 1e10, 0.5);
  EXPECT_DOUBLE_EQ(told.seconds, 100.0);
  EXPECT_EQ(told.matmul_rate, 0.0);
  const WallTime measured = predict_wall_time(tasks, {}, 1, 0.0, 0.25);
  EXPECT_GT(measured.matmul_rate, 1e8);
  EXPECT_DOUBLE_EQ(measured.seconds, 2e12 / (0.25 * measured.matmul_rate));
}

}  // namespace
}  // namespace tsugi
