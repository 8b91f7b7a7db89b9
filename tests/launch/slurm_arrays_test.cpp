// Job arrays of a sweep: who is packed with whom, and what the scripts ask for.
#include "launch/sweep/slurm_arrays.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "core/config/config.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

ResourcesConfig resources(const std::string& text) {
  ResourcesConfig config;
  parse_config(text, "test", {}, config);
  return config;
}

SweepConfig sweep_with(const std::string& text) {
  SweepConfig sweep;
  parse_config("base: \"b\" " + text, "test", {}, sweep);
  return sweep;
}

/// Runs of these lengths in seconds, at one FLOP a second.
std::vector<WorkUnit> runs_of(const std::vector<double>& lengths) {
  std::vector<WorkUnit> runs;
  for (const double length : lengths) runs.push_back({{"id" + std::to_string(runs.size())}, length});
  return runs;
}

std::vector<JobArray> pack(const std::vector<WorkUnit>& runs, const std::vector<ResourcesConfig>& classes,
                           double pack_seconds) {
  ArrayOptions options;
  options.flops_per_second = 1.0;
  options.pack_seconds = pack_seconds;
  return pack_runs(runs, classes, options);
}

std::vector<double> lengths_of(const ArrayTask& task) {
  std::vector<double> lengths;
  for (const WorkUnit& run : task.units) lengths.push_back(run.flops);
  return lengths;
}

template <typename Action>
std::string refusal(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "nothing was refused";
}

TEST(SlurmArrays, PacksShortRunsAndLeavesLongOnesAlone) {
  const std::vector<WorkUnit> runs = runs_of({10, 500, 60, 20, 30, 40, 5});
  const std::vector<JobArray> arrays = pack(runs, {resources("")}, 100);
  ASSERT_EQ(arrays.size(), 1u);
  ASSERT_EQ(arrays[0].tasks.size(), 3u);
  EXPECT_THAT(lengths_of(arrays[0].tasks[0]), ElementsAre(500));
  EXPECT_THAT(lengths_of(arrays[0].tasks[1]), ElementsAre(60, 40));
  EXPECT_THAT(lengths_of(arrays[0].tasks[2]), ElementsAre(30, 20, 10, 5));
  EXPECT_EQ(arrays[0].tasks[2].seconds, 65);
}

TEST(SlurmArrays, LanesOfATaskFillSideBySide) {
  const std::vector<WorkUnit> runs = runs_of({100, 60, 40, 100, 100, 50});
  const std::vector<JobArray> arrays = pack(runs, {resources("cpus_per_rank: 2")}, 100);
  ASSERT_EQ(arrays[0].tasks.size(), 3u);  // 450 s on lanes of 100 s
  EXPECT_THAT(lengths_of(arrays[0].tasks[0]), ElementsAre(100, 100));
  EXPECT_THAT(lengths_of(arrays[0].tasks[1]), ElementsAre(100, 60, 40));
  EXPECT_THAT(lengths_of(arrays[0].tasks[2]), ElementsAre(50));
  EXPECT_EQ(arrays[0].tasks[1].seconds, 100);
}

TEST(SlurmArrays, EveryRunIsInOneArrayOfItsClassAndNoArrayIsTooLong) {
  std::vector<double> lengths;
  for (int i = 0; i < 2500; ++i) lengths.push_back(1000 + i);
  const std::vector<WorkUnit> runs = runs_of(lengths);
  const std::vector<ResourcesConfig> classes{resources(""), resources("from_flops: 2000 ranks: 4"),
                                             resources("from_flops: 1e6")};
  const std::vector<JobArray> arrays = pack(runs, classes, 0);
  std::set<std::string> ids;
  for (const JobArray& array : arrays) {
    EXPECT_LE(array.tasks.size(), 1000u);
    for (const ArrayTask& task : array.tasks) {
      for (const WorkUnit& run : task.units) {
        EXPECT_TRUE(ids.insert(run.ids.front()).second) << run.ids.front();
        EXPECT_EQ(run.flops >= 2000, array.resources.ranks() == 4);
      }
    }
  }
  EXPECT_EQ(ids.size(), runs.size());
  ASSERT_EQ(arrays.size(), 3u);
  EXPECT_EQ(arrays[0].tasks.size(), 1000u);
  EXPECT_EQ(arrays[1].tasks.size(), 1000u);
  EXPECT_EQ(arrays[2].tasks.size(), 500u);
}

TEST(SlurmArrays, ClassesAreOrderedAndBeginWithThePresets) {
  const std::vector<ResourcesConfig> classes =
      resource_classes(sweep_with("resources { from_flops: 9 ranks: 2 } resources { from_flops: 3 jobs: 1 }"), "f");
  ASSERT_EQ(classes.size(), 3u);
  EXPECT_EQ(classes[0].from_flops(), 0);
  EXPECT_EQ(classes[0].ranks(), 1);
  EXPECT_EQ(classes[0].time(), "1:00:00");
  EXPECT_EQ(classes[1].from_flops(), 3);
  EXPECT_EQ(classes[2].ranks(), 2);
  EXPECT_EQ(resource_classes(sweep_with("resources { cpus_per_rank: 8 }"), "f").size(), 1u);
}

TEST(SlurmArrays, ThreadsAreWhatLanesLeave) {
  EXPECT_EQ(lanes_of(resources("cpus_per_rank: 8")), 8);
  EXPECT_EQ(threads_of(resources("cpus_per_rank: 8")), 1);
  EXPECT_EQ(threads_of(resources("cpus_per_rank: 8 jobs: 3")), 2);
  EXPECT_EQ(lanes_of(resources("cpus_per_rank: 8 ranks: 2")), 1);
  EXPECT_EQ(threads_of(resources("cpus_per_rank: 8 ranks: 2")), 8);
  EXPECT_EQ(lanes_of(resources("cpus_per_rank: 8 gpus_per_node: 1")), 1);
}

TEST(SlurmArrays, RefusesWhatSlurmOrTheRunsCannot) {
  const auto classes = [](const std::string& text) {
    return refusal([&] { resource_classes(sweep_with("resources { " + text + " }"), "sweep.textproto"); });
  };
  EXPECT_THAT(classes("time: \"1:2:3:4\""), HasSubstr("sweep.textproto: resources: time \"1:2:3:4\""));
  EXPECT_THAT(classes("time: \"1h\""), HasSubstr("none of Slurm's"));
  EXPECT_THAT(classes("time: \"\""), HasSubstr("none of Slurm's"));
  for (const char* time : {"4", "4:59", "0:04:59", "0-0:4"}) {
    EXPECT_THAT(classes("time: \"" + std::string(time) + "\""), HasSubstr("under 5 minutes")) << time;
  }
  for (const char* time :
       {"5", "5:00", "0:05:00", "0-0:5", "30", "30:00", "1:00:00", "1-12", "1-12:30", "1-12:30:00"}) {
    EXPECT_EQ(classes("time: \"" + std::string(time) + "\""), "nothing was refused") << time;
  }
  EXPECT_THAT(classes("ranks: 2 jobs: 2"), HasSubstr("side by side"));
  EXPECT_THAT(classes("gpus_per_node: 2 jobs: 2"), HasSubstr("do not share a GPU"));
  EXPECT_THAT(classes("nodes: 2"), HasSubstr("2 nodes for 1 ranks"));
  EXPECT_THAT(classes("from_flops: 1 } resources { from_flops: 1"), HasSubstr("the same from_flops"));
}

class Scripts : public ::testing::Test {
 protected:
  std::string script(const ScriptPaths& paths) const { return array_script(array_, "class-0.tasks", paths, options_); }

  std::vector<WorkUnit> runs_ = runs_of({3, 2, 1});
  JobArray array_{resources("ranks: 8 nodes: 2 cpus_per_rank: 4 gpus_per_node: 4 time: \"4:00:00\" partition: \"big\""),
                  {{{runs_[0], runs_[1]}, 5}, {{runs_[2]}, 1}}};
  ArrayOptions options_{"me", {"--qos=long"}, 7, 1.0, 1.0};
  ScriptPaths paths_{"ladder", "/bin/tsugi", "/s/s.textproto", "/it's 5%", "/it's 5%/slurm/0001", "/w"};
};

TEST_F(Scripts, AskForWhatTheClassSays) {
  const std::string text = script(paths_);
  for (const char* line :
       {"#!/bin/bash\n", "#SBATCH --array=0-1%7\n", "#SBATCH --ntasks=8\n", "#SBATCH --nodes=2\n",
        "#SBATCH --cpus-per-task=4\n", "#SBATCH --gpus-per-node=4\n", "#SBATCH --time=4:00:00\n",
        "#SBATCH --partition=\"big\"\n", "#SBATCH --account=\"me\"\n", "#SBATCH --qos=long\n", "#SBATCH --requeue\n",
        "#SBATCH --signal=B:USR1@", "#SBATCH --job-name=\"tsugi-ladder\"\n", "#SBATCH --chdir=\"/w\"\n",
        "#SBATCH --output=\"/it's 5%%/slurm/0001/logs/%A_%a.log\"\n", "'/it'\\''s 5%/slurm/0001/class-0.tasks'",
        "--only \"$runs\"", "ranks=8\n", "scontrol requeue"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  // sbatch reads its lines up to the first command.
  EXPECT_LT(text.rfind("\n#SBATCH"), text.find("\nruns="));
  EXPECT_EQ(task_list(array_), "id0,id1\nid2\n");
  array_.tasks[1].units.push_back({{"trunk-a", "trunk-b"}, 1});  // in the order in which they wait for each other
  EXPECT_EQ(task_list(array_), "id0,id1\nid2,trunk-a,trunk-b\n");
}

TEST_F(Scripts, LeaveOutWhatIsNotAskedFor) {
  array_.resources = resources("");
  options_ = {};
  const std::string text = script(paths_);
  for (const char* line : {"--nodes", "--gpus", "--account", "--partition", "0-1%"})
    EXPECT_THAT(text, Not(HasSubstr(line)));
}

TEST_F(Scripts, CollectAfterwards) {
  const std::string text = collect_script(array_.resources, paths_, options_);
  for (const char* line : {"sweep collect --config '/s/s.textproto'", "fit --csv '/it'\\''s 5%/runs.csv'",
                           "--account=\"me\"", "--qos=long", "logs/collect-%j.log"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, Not(HasSubstr("--signal")));
}

TEST_F(Scripts, RefuseWhatCannotBeQuoted) {
  for (const char* path : {"/a\"b", "/a\nb", "/a\\b"}) {
    ScriptPaths paths = paths_;
    paths.folder = path;
    EXPECT_THAT(refusal([&] { script(paths); }), HasSubstr("cannot be written in a batch script"));
  }
  options_.sbatch = {"--qos=a\n#SBATCH --x"};
  EXPECT_THAT(refusal([&] { script(paths_); }), HasSubstr("not one option of sbatch"));
  options_.sbatch = {"rm -rf"};
  EXPECT_THAT(refusal([&] { script(paths_); }), HasSubstr("not one option of sbatch"));
}

}  // namespace
}  // namespace tsugi
