#include "dist/launcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "ops/base/error.h"

namespace tsugi {
namespace {

using ::testing::HasSubstr;

Launch launch_in(const std::map<std::string, const char*>& environment) {
  return detect_launch([&](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second;
  });
}

TEST(Launcher, NobodyIsAWorldOfOneWithoutMpi) {
  EXPECT_FALSE(launch_in({}).with_mpi);
  // Inside sbatch or salloc, but not started by srun.
  EXPECT_FALSE(launch_in({{"SLURM_JOB_ID", "9"}, {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}).with_mpi);
}

TEST(Launcher, Mpirun) {
  const Launch launch = launch_in({{"OMPI_COMM_WORLD_SIZE", "4"}, {"PMIX_RANK", "0"}});
  EXPECT_TRUE(launch.with_mpi);
  EXPECT_EQ(launch.expected_ranks, 4);
  EXPECT_TRUE(launch.undo_binding);
}

TEST(Launcher, TheRankIsKnownBeforeMpi) {
  const auto rank_in = [](const std::map<std::string, const char*>& environment) {
    return expected_rank([&](const char* name) -> const char* {
      const auto found = environment.find(name);
      return found == environment.end() ? nullptr : found->second;
    });
  };
  EXPECT_EQ(rank_in({}), 0);
  EXPECT_EQ(rank_in({{"OMPI_COMM_WORLD_RANK", "3"}, {"SLURM_PROCID", "1"}}), 3);
  EXPECT_EQ(rank_in({{"PMIX_RANK", "2"}}), 2);
}

TEST(Launcher, ExplicitBindingOfMpirunIsKept) {
  const char* policy = "OMPI_MCA_hwloc_base_binding_policy";
  EXPECT_FALSE(launch_in({{"OMPI_COMM_WORLD_SIZE", "4"}, {policy, "socket"}}).undo_binding);
  EXPECT_TRUE(launch_in({{"OMPI_COMM_WORLD_SIZE", "4"}, {policy, "none"}}).undo_binding);
}

TEST(Launcher, MpirunInsideSlurmIgnoresTheTasksOfItsDaemons) {
  const Launch launch = launch_in({{"OMPI_COMM_WORLD_SIZE", "4"},
                                   {"SLURM_STEP_ID", "0"},
                                   {"SLURM_PROCID", "1"},
                                   {"SLURM_STEP_NUM_TASKS", "2"},
                                   {"SLURM_NTASKS", "8"}});
  EXPECT_TRUE(launch.with_mpi);
  EXPECT_EQ(launch.expected_ranks, 4);
}

TEST(Launcher, SrunWithPmix) {
  const Launch launch =
      launch_in({{"SLURM_STEP_ID", "0"}, {"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}, {"PMIX_RANK", "1"}});
  EXPECT_TRUE(launch.with_mpi);
  EXPECT_EQ(launch.expected_ranks, 2);
  EXPECT_FALSE(launch.undo_binding);
}

TEST(Launcher, SrunWithoutPmixWouldBeManyWorldsOfOne) {
  std::map<std::string, const char*> environment{
      {"SLURM_STEP_ID", "0"}, {"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}};
  try {
    launch_in(environment);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("2 tasks"));
    EXPECT_THAT(error.what(), HasSubstr("1 rank"));
    EXPECT_THAT(error.hint(), HasSubstr("--mpi=pmix"));
  }
  environment["SLURM_STEP_NUM_TASKS"] = "1";
  EXPECT_FALSE(launch_in(environment).with_mpi);
}

TEST(Launcher, OtherLaunchersSayTheSizeInPmi) {
  const Launch launch = launch_in({{"PMI_RANK", "0"}, {"PMI_SIZE", "3"}});
  EXPECT_TRUE(launch.with_mpi);
  EXPECT_EQ(launch.expected_ranks, 3);
  EXPECT_FALSE(launch.undo_binding);
}

}  // namespace
}  // namespace tsugi
