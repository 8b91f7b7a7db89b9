// Streams, events and graphs of the emulation: right programs run right in every order, wrong ones are caught.
#include "ops/cuda/runtime.h"

#include <csignal>

#include "ops/base/error.h"
#include "ops/cuda/device.cuh"
#include "ops/cuda/emulated/machine.h"
#include "ops/cuda/emulated/use_of_global_memory.h"
#include "tests/ops/cuda/testing.h"

namespace tsugi {
namespace {

using cuda::Event;
using cuda::Graph;
using cuda::launch;
using cuda::Stream;
using testing::DeviceVector;
using testing::fault_of;
using testing::for_seeds;
using ::testing::HasSubstr;

constexpr LaunchSize kOneWarp{{1, 1, 1}, 32, 0};

TSUGI_KERNEL(32, 1) add_to_all(float* x, float value) {
  float* mine = x + dev::thread_index();
  dev::store(mine, dev::load(mine) + value);
}
TSUGI_KERNEL(32, 1) add_vectors(float* out, const float* a, const float* b) {
  const int i = dev::thread_index();
  dev::store(out + i, dev::load(a + i) + dev::load(b + i));
}

TEST(Runtime, NothingRunsBeforeSomebodyWaits) {
  const DeviceVector<float> x(std::vector<float>(32, 1.0f));
  Stream stream;
  std::vector<float> host(32, -1.0f);
  launch(stream, add_to_all, kOneWarp, x.data(), 2.0f);
  stream.copy(host.data(), x.data(), 32 * sizeof(float));
  EXPECT_EQ(host[0], -1.0f) << "the host must not count on more";
  stream.synchronize();
  EXPECT_EQ(host[0], 3.0f);
}

// As on devices of compute capability 8.6 and 8.9.
TEST(Runtime, SaysWhichKernelNeedsMoreSharedMemoryThanTheDeviceHas) {
  const DeviceVector<float> x(std::vector<float>(32, 1.0f));
  Stream stream;
  constexpr unsigned kAvailable = 99 * 1024;
  const unsigned before = std::exchange(emulated::options().shared_bytes, kAvailable);
  launch(stream, add_to_all, {{1, 1, 1}, 32, kAvailable}, x.data(), 2.0f);
  try {
    launch(stream, add_to_all, {{1, 1, 1}, 32, kAvailable + 16}, x.data(), 2.0f);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_STREQ(error.what(),
                 "CUDA: a block of void (*)(float*, float) needs 101392 bytes of shared memory, the device has 101376");
  }
  emulated::options().shared_bytes = before;
  EXPECT_EQ(x.read(stream), std::vector<float>(32, 3.0f)) << "what fits has run";
}

/// Two branches on streams of their own and a join; the flag leaves out an event.
struct Fork {
  DeviceVector<float> a{std::vector<float>(32, 1.0f)}, b{std::vector<float>(32, 10.0f)};
  DeviceVector<float> out{32};
  Stream main, side;
  Event begun, finished;

  void issue(bool wait_for_begin, bool wait_for_end) {
    launch(main, add_to_all, kOneWarp, b.data(), 5.0f);
    main.record(begun);
    if (wait_for_begin) side.wait(begun);
    launch(side, add_vectors, kOneWarp, b.data(), b.data(), b.data());
    side.record(finished);
    launch(main, add_to_all, kOneWarp, a.data(), 1.0f);
    if (wait_for_end) main.wait(finished);
    launch(main, add_vectors, kOneWarp, out.data(), a.data(), b.data());
  }
};

TEST(Runtime, EventsOrderStreams) {
  for_seeds([] {
    Fork fork;
    fork.issue(true, true);
    EXPECT_EQ(fork.out.read(fork.main), std::vector<float>(32, 32.0f));
  });
}

TEST(SeededBugs, MissingEvents) {
  for (const bool wait_for_begin : {false, true}) {
    int wrong = 0;
    for_seeds([&] {
      Fork fork;
      fork.issue(wait_for_begin, !wait_for_begin);
      wrong += fork.out.read(fork.main) != std::vector<float>(32, 32.0f);
    });
    EXPECT_GE(wrong, 1) << "no order of the streams shows that an event is missing";
    EXPECT_LT(wrong, testing::order_count()) << "the orders are not varied";
  }
}

TEST(Runtime, AnEventStandsForWhatWasIssuedWhenItWasRecorded) {
  for_seeds([] {
    const DeviceVector<float> x(std::vector<float>(32, 0.0f));
    Stream first, second;
    Event event;
    second.wait(event);  // never recorded: no wait
    launch(first, add_to_all, kOneWarp, x.data(), 1.0f);
    first.record(event);
    second.wait(event);
    first.record(event);  // again: does not change what second waits for
    std::vector<float> host(32);
    second.copy(host.data(), x.data(), sizeof(float) * 32);
    second.synchronize();
    EXPECT_EQ(host[31], 1.0f);
  });
}

TEST(Runtime, GraphsRepeatWhatWasCaptured) {
  for_seeds([] {
    Fork fork;
    Graph graph;
    graph.begin_capture(fork.main);
    fork.issue(true, true);
    graph.end_capture(fork.main);
    EXPECT_EQ(fork.b.read(), std::vector<float>(32, 10.0f)) << "a capture runs nothing";
    graph.launch(fork.main);
    graph.launch(fork.main);
    EXPECT_EQ(fork.out.read(fork.main), std::vector<float>(32, 3.0f + 70.0f));
  });
}

TEST(SeededBugs, WrongCaptures) {
  EXPECT_THAT(fault_of([] {
                Fork fork;
                Graph graph;
                graph.begin_capture(fork.main);
                fork.issue(true, false);
                graph.end_capture(fork.main);
              }),
              HasSubstr("not joined"));
  EXPECT_THAT(fault_of([] {
                Fork fork;
                Graph graph;
                graph.begin_capture(fork.main);
                fork.main.synchronize();
              }),
              HasSubstr("the host waits"));
}

TEST(SeededBugs, TheHostCannotTouchDeviceMemory) {
  EXPECT_EXIT(
      {
        cuda::Buffer buffer(40);
        buffer.as<char>()[3] = 1;
      },
      ::testing::KilledBySignal(SIGSEGV), "");
}

TEST(SeededBugs, WritesOutsideAnAllocationAreSeenWhenItIsFreed) {
  EXPECT_DEATH(
      {
        cuda::Buffer buffer(40);
        const emulated::UseOfGlobalMemory use;
        buffer.as<char>()[41] = 1;
      },
      "written outside an allocation of 40 bytes");
}

}  // namespace
}  // namespace tsugi
