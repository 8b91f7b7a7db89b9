#include "core/train/logging.h"

#include <glog/logging.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/data/file.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

class RunLogTest : public ::testing::Test {
 protected:
  RunLogTest() : folder_(::testing::TempDir() + "run_log_" + std::to_string(getpid())) {
    if (!google::IsGoogleLoggingInitialized()) google::InitGoogleLogging("core_tests");
    std::filesystem::remove_all(folder_);
  }
  ~RunLogTest() override { std::filesystem::remove_all(folder_); }

  /// What three messages put on standard error.
  std::string shown(int rank) {
    ::testing::internal::CaptureStderr();
    {
      const RunLog log(folder_, rank);
      LOG(INFO) << "an info";
      LOG(WARNING) << "a warning";
      LOG(ERROR) << "an error";
    }
    return ::testing::internal::GetCapturedStderr();
  }

  std::string folder_;
};

TEST_F(RunLogTest, EveryAttemptAppendsToOneFilePerRank) {
  {
    const RunLog log(folder_, 3);
    EXPECT_EQ(log.path(), folder_ + "/logs/rank-00003.log");
    LOG(INFO) << "first attempt";
  }
  LOG(INFO) << "between attempts";
  std::ofstream(folder_ + "/logs/rank-00003.log", std::ios::app) << "torn";
  {
    const RunLog log(folder_, 3);
    LOG(INFO) << "second attempt";
  }
  EXPECT_THAT(read_file(folder_ + "/logs/rank-00003.log", 1 << 24),
              MatchesRegex("I[0-9]+ [0-9:.]+ +[0-9]+ logging_test.cpp:[0-9]+\\] first attempt\ntorn\n"
                           "I[0-9]+ [0-9:.]+ +[0-9]+ logging_test.cpp:[0-9]+\\] second attempt\n"));
  // glog's own files, links and all, stay away.
  EXPECT_EQ(std::distance(std::filesystem::recursive_directory_iterator(folder_),
                          std::filesystem::recursive_directory_iterator{}),
            2);
}

TEST_F(RunLogTest, RankZeroShowsWarnings) {
  const std::string text = shown(0);
  EXPECT_THAT(text, Not(HasSubstr("an info")));
  EXPECT_THAT(text, HasSubstr("a warning"));
  EXPECT_THAT(text, HasSubstr("an error"));
}

TEST_F(RunLogTest, OtherRanksShowErrorsOnly) {
  const std::string text = shown(1);
  EXPECT_THAT(text, Not(HasSubstr("a warning")));
  EXPECT_THAT(text, HasSubstr("an error"));
  const std::string file = read_file(folder_ + "/logs/rank-00001.log", 1 << 24);
  EXPECT_THAT(file, HasSubstr("an info"));
  EXPECT_THAT(file, HasSubstr("a warning"));
}

TEST_F(RunLogTest, WithoutAFolderOnlyStandardErrorIsSetUp) {
  folder_.clear();
  EXPECT_THAT(shown(0), HasSubstr("a warning"));
  EXPECT_EQ(RunLog("", 0).path(), "");
}

TEST_F(RunLogTest, AFolderThatCannotBeMadeIsAnError) {
  try {
    const RunLog log("/dev/null/run", 0);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInputOutput);
    EXPECT_STREQ(error.what(), "cannot create /dev/null/run/logs: Not a directory");
  }
}

TEST_F(RunLogTest, NoSignalIsHandled) {
  for (const int signal : {SIGTERM, SIGSEGV, SIGABRT}) {
    struct sigaction before{};
    struct sigaction during{};
    ASSERT_EQ(sigaction(signal, nullptr, &before), 0);
    const RunLog log(folder_, 0);
    ASSERT_EQ(sigaction(signal, nullptr, &during), 0);
    EXPECT_EQ(during.sa_handler, before.sa_handler) << signal;
  }
}

TEST_F(RunLogTest, ABrokenInvariantIsInTheFile) {
  EXPECT_DEATH(
      {
        const RunLog log(folder_, 0);
        CHECK_EQ(1, 2) << "impossible";
      },
      "impossible");
  EXPECT_THAT(read_file(folder_ + "/logs/rank-00000.log", 1 << 24), HasSubstr("Check failed: 1 == 2"));
}

}  // namespace
}  // namespace tsugi
