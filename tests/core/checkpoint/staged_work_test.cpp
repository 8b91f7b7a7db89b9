#include "core/checkpoint/staged_work.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/checkpoint/state_copy.h"
#include "tests/core/checkpoint/checkpoint_testing.h"

namespace tsugi::testing {
namespace {

/// What happened, by any rank.
class Journal {
 public:
  void add(const std::string& line) {
    const std::scoped_lock lock(mutex_);
    lines_.push_back(line);
  }
  int count(const std::string& line) const { return static_cast<int>(std::count(lines_.begin(), lines_.end(), line)); }
  size_t last(const std::string& line) const {
    return static_cast<size_t>(std::find(lines_.rbegin(), lines_.rend(), line).base() - lines_.begin());
  }
  size_t first(const std::string& line) const {
    return static_cast<size_t>(std::find(lines_.begin(), lines_.end(), line) - lines_.begin());
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> lines_;
};

/// Runs stages either way.
void complete(StagedWork& work, Communicator& communicator, bool beside) {
  if (!beside) return work.run(communicator);
  work.start();
  work.finish(communicator);
  EXPECT_FALSE(work.under_way());
}

class StagedWorkTest : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Ways, StagedWorkTest, ::testing::Bool(),
                         [](const auto& way) { return way.param ? "beside" : "here"; });

TEST_P(StagedWorkTest, NoRankBeginsAStageBeforeAllHaveEndedTheOneBefore) {
  Journal journal;
  run_ranks(3, [&](Communicator& communicator) {
    StagedWork work;
    work.add(
        {[&] { journal.add("first"); }, [&](Communicator&) { work.add_next({[&] { journal.add("inserted"); }}); }});
    work.add({[&] { journal.add("last"); }});
    complete(work, communicator, GetParam());
  });
  for (const char* stage : {"first", "inserted", "last"}) EXPECT_EQ(journal.count(stage), 3) << stage;
  EXPECT_LE(journal.last("first"), journal.first("inserted"));
  EXPECT_LE(journal.last("inserted"), journal.first("last"));
}

TEST_P(StagedWorkTest, AFailureOfOneRankIsThrownOnAllAfterCleaningUp) {
  Journal journal;
  run_ranks(3, [&](Communicator& communicator) {
    StagedWork work;
    work.add({[] {}, [&](Communicator&) { work.on_failure([&] { journal.add("cleaned"); }); }});
    work.add({[rank = communicator.rank()] {
      if (rank == 1) throw Error(ExitCode::kInputOutput, "the disk is full");
    }});
    work.add({[&] { journal.add("never"); }});
    const std::string said = error_of([&] { complete(work, communicator, GetParam()); }, ExitCode::kInputOutput);
    EXPECT_NE(said.find("the disk is full"), std::string::npos) << said;
    EXPECT_FALSE(work.under_way());
  });
  EXPECT_EQ(journal.count("cleaned"), 3);
  EXPECT_EQ(journal.count("never"), 0);
}

TEST(StagedWorkBeside, ReturnsWhileAStageRuns) {
  std::atomic<bool> go = false;
  StagedWork work;
  work.add({[&] {
    while (!go) std::this_thread::yield();
  }});
  work.start();
  EXPECT_TRUE(work.under_way());
  EXPECT_FALSE(work.ready());
  go = true;
  while (!work.ready()) std::this_thread::yield();
  const auto alone = make_local_communicator();
  work.advance(*alone);
  EXPECT_FALSE(work.under_way());
}

TEST(StateCopyTest, KeepsWhatTheRangesHeld) {
  ThreadPool pool(2);
  HeapMemory memory;
  const Context context(Device{}, pool, memory);
  std::vector<float> master(600'000), first(600'000), second(600'000);
  for (size_t i = 0; i < master.size(); ++i) {
    master[i] = static_cast<float>(i);
    first[i] = -master[i];
    second[i] = 2.0f * master[i];
  }
  // The second range has no moments, as a frozen tensor.
  const std::vector<StateRange> ranges = {{0, 5, 590'000, master.data(), first.data(), second.data()},
                                          {1, 0, 9'999, master.data() + 590'000, nullptr, nullptr}};
  StateCopy copy(context, 3 * 600'000);
  const std::vector<StateRange> copied = copy.take(ranges);
  for (auto* values : {&master, &first, &second}) std::fill(values->begin(), values->end(), 0.0f);
  ASSERT_EQ(copied.size(), 2U);
  EXPECT_EQ(copied[0].tensor, 0);
  EXPECT_EQ(copied[0].offset, 5);
  EXPECT_EQ(copied[1].length, 9'999);
  EXPECT_EQ(copied[1].exp_avg, nullptr);
  for (int64_t i = 0; i < copied[0].length; ++i) {
    ASSERT_EQ(copied[0].master[i], static_cast<float>(i));
    ASSERT_EQ(copied[0].exp_avg[i], static_cast<float>(-i));
    ASSERT_EQ(copied[0].exp_avg_sq[i], static_cast<float>(2 * i));
  }
  for (int64_t i = 0; i < copied[1].length; ++i) ASSERT_EQ(copied[1].master[i], static_cast<float>(590'000 + i));
}

}  // namespace
}  // namespace tsugi::testing
