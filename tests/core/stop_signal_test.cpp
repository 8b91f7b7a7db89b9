#include "core/train/stop_signal.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <thread>
#include <vector>

#include "ops/base/thread_pool.h"
#include "ops/matmul/onednn_gemm.h"

namespace tsugi {
namespace {

/// Puts the handlers back as they were, for the other tests of this program.
class StopSignal : public ::testing::Test {
 protected:
  StopSignal() {
    for (size_t i = 0; i < kSignals.size(); ++i) {
      sigaction(kSignals[i], nullptr, &before_[i]);
      std::signal(kSignals[i], SIG_DFL);
    }
    clear_stop_request();
  }
  ~StopSignal() override {
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
    clear_stop_request();
  }

 private:
  static constexpr std::array kSignals = {SIGTERM, SIGUSR1, SIGINT, SIGHUP, SIGPIPE};
  std::array<struct sigaction, kSignals.size()> before_{};
};
using StopSignalDeathTest = StopSignal;

TEST_F(StopSignal, EachOfThemIsNoted) {
  install_stop_signals();
  for (const int signal : {SIGTERM, SIGUSR1, SIGINT, SIGHUP}) {
    EXPECT_FALSE(stop_requested());
    EXPECT_EQ(std::raise(signal), 0);
    EXPECT_TRUE(stop_requested());
    EXPECT_EQ(stop_signal(), signal);
    clear_stop_request();
  }
}

TEST_F(StopSignal, TheFirstOneIsKeptAndRepetitionsDoNoHarm) {
  install_stop_signals();
  install_stop_signals();
  std::raise(SIGUSR1);
  std::raise(SIGTERM);
  std::raise(SIGUSR1);
  EXPECT_EQ(stop_signal(), SIGUSR1);
}

TEST_F(StopSignal, TwoInterruptsAtOnceAreOneKeyPress) {
  install_stop_signals();
  std::raise(SIGINT);
  std::raise(SIGINT);
  EXPECT_EQ(stop_signal(), SIGINT);
}

// oneDNN's products keep numbers below the stack pointer, where a handler's frame would lie: a signal in the middle of
// one left wrong sums and a broken heap.
TEST_F(StopSignal, AProductIsNotHurtByOne) {
  install_stop_signals();
  const pid_t process = getpid();
  std::atomic<bool> done{false};
  std::thread sender([&] {
    while (!done) {
      usleep(200);
      kill(process, SIGUSR1);
    }
  });
  constexpr int64_t kPieces = 8;
  constexpr int64_t kWidth = 128;
  constexpr size_t kElements = kWidth * kWidth;
  std::vector<float> a(kElements), b(kElements);
  for (size_t i = 0; i < kElements; ++i) {
    a[i] = static_cast<float>(i * 7 % 13) - 6.0f;
    b[i] = static_cast<float>(i * 5 % 11) - 5.0f;
  }
  const GemmShape shape{kWidth, kWidth, kWidth, kWidth, kWidth, kWidth, false, false, false};
  std::vector<float> expected(kElements);
  gemm_f32(shape, a.data(), b.data(), expected.data());
  std::vector<std::vector<float>> products(kPieces, std::vector<float>(kElements));
  {
    ThreadPool pool(2);
    for (int round = 0; round < 2000; ++round) {
      pool.for_each(kPieces, [&](int64_t piece, int) {
        gemm_f32(shape, a.data(), b.data(), products[static_cast<size_t>(piece)].data());
      });
      for (const std::vector<float>& product : products) ASSERT_EQ(product, expected) << "round " << round;
    }
  }
  done = true;
  sender.join();
  EXPECT_EQ(stop_signal(), SIGUSR1);
}

TEST_F(StopSignal, AnIgnoredInterruptStaysIgnored) {
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGHUP, SIG_IGN);
  install_stop_signals();
  std::raise(SIGINT);
  std::raise(SIGHUP);
  EXPECT_FALSE(stop_requested());
}

TEST_F(StopSignal, AReaderThatLeavesDoesNotEndTheRun) {
  install_stop_signals();
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  EXPECT_EQ(write(ends[1], "x", 1), -1);
  close(ends[1]);
  EXPECT_FALSE(stop_requested());
}

TEST_F(StopSignalDeathTest, ALaterInterruptEndsTheProcess) {
  EXPECT_EXIT(
      {
        install_stop_signals();
        std::raise(SIGINT);
        usleep(1'050'000);
        std::raise(SIGINT);
        _exit(0);
      },
      ::testing::KilledBySignal(SIGINT), "");
}

}  // namespace
}  // namespace tsugi
