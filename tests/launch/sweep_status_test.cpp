// The rows of `tsugi sweep status`. tests/cluster/sweep_watch.sh looks at them on a terminal.
#include "launch/sweep/sweep_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace tsugi {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

class SweepStatusTest : public testing::Test {
 protected:
  SweepStatusTest() {
    for (int i = 0; i < 6; ++i) {
      PlannedRun run;
      run.id = std::string(16, static_cast<char>('a' + i));
      run.name = "run-" + std::to_string(i);
      run.config.set_steps(100);
      run.config.mutable_optimizer()->set_learning_rate(1);
      run.flops = run.cost = 1e9;
      plan_.runs.push_back(run);
    }
  }
  ~SweepStatusTest() override { std::filesystem::remove_all(out_); }

  void train(int i, const std::string& metrics) {
    const std::string folder = folder_.run_folder(plan_.runs[static_cast<size_t>(i)]) + "/train";
    std::filesystem::create_directories(folder);
    std::ofstream(folder + "/metrics.jsonl") << metrics;
  }
  void end(int i, bool diverged) {
    const PlannedRun& run = plan_.runs[static_cast<size_t>(i)];
    std::filesystem::create_directories(folder_.run_folder(run));
    RunResult result;
    result.diverged = diverged;
    result.loss = 2.5;
    folder_.write_result(run, result);
  }
  std::vector<std::string> states(const SweepStatus& status) {
    std::vector<std::string> all;
    for (const TaskState& one : status.states()) all.push_back(one.state);
    return all;
  }

  std::string out_ = (std::filesystem::temp_directory_path() / ("tsugi_status_" + std::to_string(getpid()))).string();
  SweepFolder folder_{out_};
  SweepPlan plan_;
};

TEST_F(SweepStatusTest, SaysHowFarEachRunIs) {
  end(0, false);
  end(1, true);
  train(2, "{\"step\":10,\"loss\":3.5}\n{\"step\":20,\"loss\":3.25,\"x\":1}\n{\"step\":20,\"validation_loss\":9}\n");
  train(3, "{\"step\":50,\"loss\":1.2");  // still being written
  SweepStatus status(folder_, plan_);
  status.look({{plan_.runs[4].id, {"17", "3", "PENDING", "Priority"}}});
  EXPECT_THAT(states(status), ElementsAre("done", "diverged", "stopped", "stopped", "queued", "waiting"));
  EXPECT_EQ(status.states()[0].loss, 2.5);
  EXPECT_EQ(status.states()[2].step, 20);
  EXPECT_EQ(status.states()[2].loss, 3.25);
  EXPECT_EQ(status.states()[3].step, 50);
  EXPECT_FALSE(status.states()[3].loss);
  EXPECT_NEAR(status.share(), (1 + 1 + 0.2 + 0.5) / 6, 1e-12);
  EXPECT_THAT(status.plain_text(), HasSubstr("job 17_3 PENDING (Priority)"));
  EXPECT_FALSE(status.finished());
  for (int i = 2; i < 6; ++i) end(i, false);
  status.look({});
  EXPECT_TRUE(status.finished());
  EXPECT_EQ(status.share(), 1.0);
}

TEST_F(SweepStatusTest, LeavesOutWhatHasEndedWhereThereIsNoRoom) {
  for (int i = 0; i < 4; ++i) end(i, i == 1);
  SweepStatus status(folder_, plan_);
  status.look({});
  const std::vector<std::string> all = status.live_text(40, 120, 90.0);
  ASSERT_THAT(all, SizeIs(8));
  EXPECT_THAT(all[0], AllOf(StartsWith("run-0"), HasSubstr("[====================]"), HasSubstr("loss 2.5000")));
  EXPECT_EQ(all[6], "2 waiting, 3 done, 1 diverged");
  EXPECT_THAT(all[7], AllOf(HasSubstr("66.7 % of 6.000e+09 FLOPs"), HasSubstr("about 1m30s left")));
  const std::vector<std::string> some = status.live_text(5, 30, NAN);
  ASSERT_THAT(some, SizeIs(5));
  EXPECT_THAT(some[0], StartsWith("run-1"));
  EXPECT_THAT(some[1], StartsWith("run-4"));
  EXPECT_THAT(some[2], StartsWith("run-5"));
  for (const std::string& line : some) EXPECT_LE(line.size(), 30u) << line;
  EXPECT_THAT(status.live_text(1, 10, NAN), ElementsAre("66.7 % of "));
}

TEST_F(SweepStatusTest, FineTuningOfWhatDivergedIsNotWaitedFor) {
  plan_.runs.resize(2);
  for (PlannedRun& run : plan_.runs) {
    run.downstream_id = run.id.substr(0, 15) + "x";
    run.downstream_flops = 1e8;
  }
  end(0, true);
  end(1, false);
  SweepStatus status(folder_, plan_);
  status.look({});
  EXPECT_THAT(states(status), ElementsAre("diverged", "done", "skipped", "waiting"));
  EXPECT_EQ(status.json()["runs"][2]["state"], "skipped");
  EXPECT_NEAR(status.share(), 2e9 / 2.1e9, 1e-12);
}

}  // namespace
}  // namespace tsugi
