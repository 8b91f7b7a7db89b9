// Which runs a launcher takes, and when it leaves them to others. tests/cluster/sweep.sh trains real ones.
#include "launch/sweep/local_executor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>

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
  EXPECT_TRUE(folder_.running(plan_.runs[0]));
  options_.only = {"aaaa", "bbbb"};
  options_.patience_seconds = 0.2;
  const ExecutionSummary summary = execute_locally(folder_, plan_, options_);
  EXPECT_EQ(summary.left, 1);
  EXPECT_EQ(summary.failed, 1);
  close(lock);
  EXPECT_EQ(execute_locally(folder_, plan_, options_).failed, 2);
}

}  // namespace
}  // namespace tsugi
