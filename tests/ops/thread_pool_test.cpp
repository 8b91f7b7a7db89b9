#include "ops/base/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

namespace tsugi {
namespace {

class ThreadPoolOf : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(, ThreadPoolOf, ::testing::Values(1, 2, 3, 4, 8, 16));

TEST_P(ThreadPoolOf, RunsEveryIndexOnceAndReturnsWhenAllAreDone) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.threads(), GetParam());
  for (const int64_t count : {0, 1, 2, 3, 15, 16, 17, 1000}) {
    std::vector<int> runs(static_cast<size_t>(count));  // not atomic: for_each must order the pieces before its return
    pool.for_each(count, [&](int64_t i, int worker) {
      ++runs[static_cast<size_t>(i)];
      EXPECT_GE(worker, 0);
      EXPECT_LT(worker, pool.threads());
    });
    EXPECT_EQ(runs, std::vector<int>(static_cast<size_t>(count), 1));
  }
}

TEST_P(ThreadPoolOf, WritesOfOneLoopAreSeenByTheNext) {
  ThreadPool pool(GetParam());
  constexpr int64_t kCount = 64;
  std::vector<int64_t> values(kCount, 0);
  std::vector<int64_t> next(kCount, 0);
  for (int round = 0; round < 300; ++round) {
    pool.for_each(kCount, [&](int64_t i, int) {
      const auto at = static_cast<size_t>(i);
      next[at] = values[at] + values[(at + 1) % kCount] % 7 + 1;
    });
    std::vector<int64_t> expected(kCount);
    for (size_t i = 0; i < kCount; ++i) expected[i] = values[i] + values[(i + 1) % kCount] % 7 + 1;
    ASSERT_EQ(next, expected) << "round " << round;
    std::swap(values, next);
  }
}

TEST_P(ThreadPoolOf, AWorkerNeverRunsTwoPiecesAtOnce) {
  ThreadPool pool(GetParam());
  std::vector<std::atomic<int>> busy(static_cast<size_t>(GetParam()));
  pool.for_each(200, [&](int64_t, int worker) {
    std::atomic<int>& mine = busy[static_cast<size_t>(worker)];
    EXPECT_EQ(mine.fetch_add(1), 0);
    std::this_thread::yield();
    mine.fetch_sub(1);
  });
}

TEST_P(ThreadPoolOf, ScratchBelongsToItsWorkerAndGrows) {
  ThreadPool pool(GetParam());
  for (const size_t bytes : {size_t{1}, size_t{100}, size_t{4096}, size_t{64}, size_t{1} << 20}) {
    pool.for_each(40, [&](int64_t i, int worker) {
      auto* scratch = static_cast<unsigned char*>(pool.scratch(worker, bytes));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(scratch) % 64, 0u);
      const auto mark = static_cast<unsigned char>(i);
      std::memset(scratch, mark, bytes);
      std::this_thread::yield();
      EXPECT_EQ(scratch[0], mark);
      EXPECT_EQ(scratch[bytes - 1], mark);
    });
  }
  void* large = pool.scratch(0, 1000);
  EXPECT_EQ(pool.scratch(0, 10), large) << "never shrinks";
}

TEST_P(ThreadPoolOf, WakesAgainAfterSleeping) {
  ThreadPool pool(GetParam());
  std::atomic<int64_t> sum{0};
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // longer than the threads spin
    pool.for_each(10, [&](int64_t i, int) {
      if (i == 3) std::this_thread::sleep_for(std::chrono::milliseconds(3));  // and longer than the caller does
      sum += i;
    });
  }
  EXPECT_EQ(sum.load(), 5 * 45);
}

TEST_P(ThreadPoolOf, SurvivesManyShortLoops) {
  ThreadPool pool(GetParam());
  const int rounds = GetParam() > 2 ? 500 : 20000;
  int64_t total = 0;
  for (int round = 0; round < rounds; ++round) {
    int64_t parts[2] = {0, 0};
    pool.for_each(2, [&](int64_t i, int) { parts[i] = i + round; });
    total += parts[0] + parts[1];
  }
  EXPECT_EQ(total, static_cast<int64_t>(rounds) * (rounds - 1) + rounds);
}

TEST(ThreadPool, CanBeMadeAndDroppedWithoutWork) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(1 + i % 4);
}

TEST(ThreadPool, SeveralPoolsServeSeveralCallers) {
  std::vector<std::thread> callers;
  std::vector<int64_t> sums(3, 0);
  for (int64_t& sum : sums) {
    callers.emplace_back([&sum] {
      ThreadPool pool(2);
      for (int round = 0; round < 200; ++round) {
        std::vector<int64_t> values(10);
        pool.for_each(10, [&](int64_t i, int) { values[static_cast<size_t>(i)] = i; });
        sum += std::accumulate(values.begin(), values.end(), int64_t{0});
      }
    });
  }
  for (std::thread& thread : callers) thread.join();
  EXPECT_EQ(sums, std::vector<int64_t>(3, 200 * 45));
}

TEST(ThreadPool, PinsItsThreadsAndTheCaller) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  int cpu = 0;
  while (!CPU_ISSET(cpu, &before)) ++cpu;
  std::thread([cpu] {
    ThreadPool pool(3, {cpu});
    std::mutex mutex;
    std::set<int> seen;
    pool.for_each(30, [&](int64_t, int) {
      cpu_set_t set;
      EXPECT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
      EXPECT_EQ(CPU_COUNT(&set), 1);
      const std::lock_guard lock(mutex);
      seen.insert(sched_getcpu());
    });
    EXPECT_EQ(seen, std::set<int>{cpu});
  }).join();
}

}  // namespace
}  // namespace tsugi
