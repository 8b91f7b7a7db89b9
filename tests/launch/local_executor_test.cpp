// Which runs a launcher takes, and when it leaves them to others. tests/cluster/sweep.sh trains real ones.
#include "launch/sweep/local_executor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>

#include "core/data/file.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

class LocalExecutor : public testing::Test {
 protected:
  LocalExecutor() {
    for (const char* id : {"aaaa", "bbbb"}) {
      PlannedRun run;
      run.id = id;
      run.name = "run";
      run.config.set_steps(1);
      run.config.mutable_optimizer()->set_learning_rate(1);
      plan_.runs.push_back(run);
    }
    options_.program = "/bin/false";
    options_.quiet = true;
  }
  ~LocalExecutor() override { std::filesystem::remove_all(out_); }

  std::string out_ = (std::filesystem::temp_directory_path() / ("tsugi_executor_" + std::to_string(getpid()))).string();
  SweepFolder folder_{out_};
  SweepPlan plan_;
  LocalExecution options_;
};

TEST_F(LocalExecutor, TakesOnlyWhatItIsTold) {
  options_.only = {"bbbb"};
  EXPECT_EQ(execute_locally(folder_, plan_, options_).failed, 1);
  EXPECT_FALSE(std::filesystem::exists(folder_.run_folder(plan_.runs[0])));
  EXPECT_TRUE(std::filesystem::exists(folder_.run_folder(plan_.runs[1])));
  options_.only.clear();
  EXPECT_EQ(execute_locally(folder_, plan_, options_).failed, 2);
}

TEST_F(LocalExecutor, RunsSideBySideSeeADeviceEach) {
  std::filesystem::create_directories(out_);
  options_.program = out_ + "/program";
  write_file_durably(options_.program, "#!/bin/sh\necho \"on $CUDA_VISIBLE_DEVICES\" >&2\nexit 1\n");
  std::filesystem::permissions(options_.program, std::filesystem::perms::owner_all);
  const auto seen = [&](size_t run) {
    const std::string log = folder_.run_folder(plan_.runs[run]) + "/log";
    const std::string text = read_file(log, 1000);
    std::filesystem::remove(log);
    return text;
  };
  options_.devices = {"GPU-1f", "3"};
  EXPECT_EQ(execute_locally(folder_, plan_, options_).failed, 2);
  EXPECT_EQ(seen(0), "on GPU-1f\n");
  EXPECT_EQ(seen(1), "on 3\n");
  options_.devices = {"5"};
  EXPECT_EQ(execute_locally(folder_, plan_, options_).failed, 2);
  EXPECT_EQ(seen(0), "on 5\n");
  EXPECT_EQ(seen(1), "on 5\n");
}

TEST_F(LocalExecutor, RefusesARunThatIsNotThere) {
  options_.only = {"aaaa", "cccc"};
  try {
    execute_locally(folder_, plan_, options_);
    FAIL() << "nothing was refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), testing::HasSubstr("no run of id cccc"));
  }
}

TEST_F(LocalExecutor, LeavesARunToWhoeverHoldsItAfterAWhile) {
  const std::string held = folder_.run_folder(plan_.runs[0]);
  std::filesystem::create_directories(held);
  const int lock = open((held + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  ASSERT_EQ(flock(lock, LOCK_EX), 0);
  EXPECT_TRUE(folder_.running(sweep_tasks(plan_)[0]));
  options_.only = {"aaaa", "bbbb"};
  options_.patience_seconds = 0.2;
  const ExecutionSummary summary = execute_locally(folder_, plan_, options_);
  EXPECT_EQ(summary.left, 1);
  EXPECT_EQ(summary.failed, 1);
  close(lock);
  EXPECT_EQ(execute_locally(folder_, plan_, options_).failed, 2);
}

TEST_F(LocalExecutor, NothingIsDoneThatWaitsForWhatFailed) {
  PlannedSegment segment;
  segment.id = "cccc";
  segment.name = "trunk";
  segment.config = plan_.runs[0].config;
  plan_.segments.push_back(segment);
  plan_.runs[0].segment = 0;
  plan_.runs[0].downstream_id = "dddd";
  const ExecutionSummary summary = execute_locally(folder_, plan_, options_);
  EXPECT_EQ(summary.failed, 2);  // the trunk, and the run that needs none
  EXPECT_EQ(summary.left, 2);    // the run that does, and its fine-tuning
  EXPECT_FALSE(std::filesystem::exists(folder_.run_folder(plan_.runs[0])));
  // Alone it is not begun either, and nobody else's work is done for it.
  options_.only = {"aaaa"};
  options_.patience_seconds = 0.2;
  EXPECT_EQ(execute_locally(folder_, plan_, options_).left, 1);
}

TEST_F(LocalExecutor, ARunIsOnItsOwnAfterItsTrunkDiverged) {
  PlannedSegment first;
  first.id = "cccc";
  first.name = "trunk";
  first.config = plan_.runs[0].config;
  PlannedSegment second = first;
  second.id = "eeee";
  second.before = 0;
  plan_.segments = {first, second};
  plan_.runs[0].segment = 1;
  std::filesystem::create_directories(folder_.task_folder(sweep_tasks(plan_)[0]));
  folder_.write_segment_result(sweep_tasks(plan_)[0], true, 1.0);
  const ExecutionSummary summary = execute_locally(folder_, plan_, options_);
  EXPECT_EQ(summary.failed, 2);  // both runs
  EXPECT_EQ(summary.left, 0);
  EXPECT_TRUE(std::filesystem::exists(folder_.run_folder(plan_.runs[0]) + "/train-half-rate"));
  EXPECT_FALSE(std::filesystem::exists(folder_.task_folder(sweep_tasks(plan_)[1])));
}

TEST(SweepTasks, WaitForEachOtherAndTheLongestChainComesFirst) {
  SweepPlan plan;
  PlannedSegment first, second;
  first.flops = 10;
  second.flops = 20;
  second.before = 0;
  plan.segments = {first, second};
  PlannedRun branch, late, alone;
  branch.segment = 0;
  branch.cost = 3;
  branch.downstream_id = "task";
  branch.downstream_flops = 100;
  late.segment = 1;
  late.cost = 4;
  alone.cost = 50;
  plan.runs = {branch, late, alone};
  const std::vector<SweepTask> tasks = sweep_tasks(plan);
  ASSERT_EQ(tasks.size(), 6u);
  std::vector<int> after;
  std::vector<double> chains;
  for (const SweepTask& task : tasks) {
    after.push_back(task.after);
    chains.push_back(task.chain);
  }
  EXPECT_THAT(after, testing::ElementsAre(-1, 0, 0, 1, -1, 2));
  EXPECT_THAT(chains, testing::ElementsAre(113, 24, 103, 4, 50, 100));
}

}  // namespace
}  // namespace tsugi
