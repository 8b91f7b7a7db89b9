#include "dist/doorbell.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <new>
#include <thread>

namespace tsugi {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

TEST(Doorbell, ARingBeforeTheSleepIsNotLost) {
  Doorbell bell;
  const uint32_t seen = bell.rings();
  bell.ring();
  bell.sleep(seen);  // would never end
  EXPECT_TRUE(bell.sleep(seen, milliseconds(100000)));
  EXPECT_EQ(bell.rings(), seen + 1);
}

TEST(Doorbell, NobodyRings) {
  Doorbell bell;
  const auto start = steady_clock::now();
  EXPECT_FALSE(bell.sleep(bell.rings(), milliseconds(20)));
  EXPECT_GE(steady_clock::now() - start, milliseconds(15));
}

TEST(Doorbell, KnocksDoNotDisturbWhoHasNothingToDo) {
  Doorbell bell;
  std::atomic<bool> awake{false};
  const uint32_t seen = bell.rings();
  std::thread sleeper([&] {
    bell.sleep(seen);
    awake = true;
  });
  std::this_thread::sleep_for(milliseconds(50));
  bell.knock();
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_FALSE(awake);
  bell.ring();
  sleeper.join();
  EXPECT_TRUE(awake);
}

// Two processes that take turns, thousands of times: a lost ring would cost the whole length of a sleep.
TEST(Doorbell, WakesAnotherProcess) {
  struct Both {
    Doorbell first, second;
  };
  void* memory = mmap(nullptr, sizeof(Both), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  Both& bells = *new (memory) Both;
  constexpr uint32_t kTurns = 5000;
  const auto await = [](Doorbell& bell, uint32_t turn) {
    while (bell.rings() == turn) {
      if (!bell.sleep(turn, milliseconds(20000))) return false;
    }
    return true;
  };
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    for (uint32_t turn = 0; turn < kTurns; ++turn) {
      if (!await(bells.first, turn)) _exit(1);
      bells.second.knock();
    }
    _exit(0);
  }
  for (uint32_t turn = 0; turn < kTurns; ++turn) {
    bells.first.knock();
    ASSERT_TRUE(await(bells.second, turn)) << turn;
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  munmap(memory, sizeof(Both));
}

}  // namespace
}  // namespace tsugi
