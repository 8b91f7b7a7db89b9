// The world of one. Worlds of more ranks are tested below mpi/.
#include "dist/world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "dist/affinity.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using ::testing::HasSubstr;

TEST(World, WithoutALauncher) {
  const std::vector<int> before = allowed_cpus();
  World world({});
  EXPECT_EQ(world.rank(), 0);
  EXPECT_EQ(world.size(), 1);
  EXPECT_EQ(world.local_rank(), 0);
  EXPECT_EQ(world.local_size(), 1);
  EXPECT_EQ(world.threads(), static_cast<int>(before.size()));
  EXPECT_TRUE(world.cpus().empty());
  EXPECT_EQ(allowed_cpus(), before);
  EXPECT_THAT(world.describe(), HasSubstr("rank 0 of 1 on " + world.host() + " (local 0 of 1), "));
  EXPECT_EQ(world.communicator().all_gather_strings("x"), std::vector<std::string>{"x"});
  EXPECT_EQ(World({.threads = 7}).threads(), 7);
}

int threads_of_this_process() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Threads:")) return std::stoi(line.substr(8));
  }
  return 0;
}

TEST(World, StartsNoCommunicationThread) {
  const int before = threads_of_this_process();
  World world({});
  EXPECT_GT(before, 0);
  EXPECT_EQ(threads_of_this_process(), before);
}

TEST(World, SrunWithoutPmixIsRefused) {
  setenv("SLURM_STEP_ID", "0", 1);
  setenv("SLURM_PROCID", "1", 1);
  setenv("SLURM_STEP_NUM_TASKS", "2", 1);
  EXPECT_THROW(World({}), Error);
  unsetenv("SLURM_STEP_ID");
  unsetenv("SLURM_PROCID");
  unsetenv("SLURM_STEP_NUM_TASKS");
}

TEST(WorldDeathTest, AbortLeavesWithItsCode) { EXPECT_EXIT(World({}).abort(6), ::testing::ExitedWithCode(6), ""); }

}  // namespace
}  // namespace tsugi
