// The real NCCL with one rank, all that one device can have: it is found, takes our configuration, joins and leaves.
#include <glog/logging.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "dist/nccl_communicator.h"
#include "ops/cuda/signal.h"

namespace tsugi {
namespace {

void never(const Error& error) { LOG(FATAL) << error.what(); }

TEST(NcclOnDevice, OneRankJoinsSendsToItselfAndLeaves) {
  std::string why;
  const NcclTable* const nccl = load_nccl(why);
  if (nccl == nullptr) GTEST_SKIP() << "no NCCL: " << why;
  const auto alone = make_local_communicator();
  cuda::Stream work;
  const NcclConnection connection = connect_nccl(nccl, why, *alone, work, 60.0, never);
  ASSERT_NE(connection.communicator, nullptr) << connection.description;
  const cuda::Buffer from(1000), to(1000);
  work.fill(from.data(), 7, from.bytes());
  connection.communicator->exchange({{0, from.data(), 1000}}, {{0, to.data(), 1000}})->wait();
  std::vector<unsigned char> got(1000);
  work.copy(got.data(), to.data(), got.size());
  work.synchronize();
  EXPECT_EQ(got, std::vector<unsigned char>(1000, 7));
}

/// What the communicator asks of the library between ranks, from one rank to itself.
TEST(NcclOnDevice, AGroupOfSendAndReceive) {
  std::string why;
  const NcclTable* const nccl = load_nccl(why);
  if (nccl == nullptr) GTEST_SKIP() << "no NCCL: " << why;
  NcclId id{};
  ASSERT_EQ(nccl->get_unique_id(&id), kNcclSuccess);
  NcclConfig config;
  void* comm = nullptr;
  const auto settle = [&](int result) {
    while (result == kNcclInProgress) {
      if (nccl->comm_get_async_error(comm, &result) != kNcclSuccess) break;
    }
    return result;
  };
  ASSERT_EQ(settle(nccl->comm_init_rank_config(&comm, 1, id, 0, &config)), kNcclSuccess);
  cuda::Stream stream;
  const cuda::Buffer from(100001), to(100001);
  stream.fill(from.data(), 9, from.bytes());
  ASSERT_EQ(nccl->group_start(), kNcclSuccess);
  settle(nccl->recv(to.data(), to.bytes(), kNcclInt8, 0, comm, cuda::handle_of(stream)));
  settle(nccl->send(from.data(), from.bytes(), kNcclInt8, 0, comm, cuda::handle_of(stream)));
  ASSERT_EQ(settle(nccl->group_end()), kNcclSuccess);
  std::vector<unsigned char> got(100001);
  stream.copy(got.data(), to.data(), got.size());
  stream.synchronize();
  EXPECT_EQ(got, std::vector<unsigned char>(100001, 9));
  EXPECT_EQ(settle(nccl->comm_finalize(comm)), kNcclSuccess);
  EXPECT_EQ(nccl->comm_destroy(comm), kNcclSuccess);
}

/// What a device writes into the host's memory says how far it is.
TEST(NcclOnDevice, TheWatchdogSeesWhatLastsTooLong) {
  std::string why;
  if (cuda::device_count(why) == 0) GTEST_SKIP() << why;
  const cuda::Buffer much(size_t{1} << 31);
  for (const bool long_work : {false, true}) {
    std::atomic<int> hangs = 0;
    cuda::Stream work;
    cuda::Event begun, over;
    NcclWatchdog watchdog(0.01, [&](const Error&) { ++hangs; });
    const auto start = std::chrono::steady_clock::now();
    work.record(begun);
    for (int i = 0; long_work && i < 200; ++i) work.fill(much.data(), 1, much.bytes());
    work.record(over);
    watchdog.watch({"a long transfer", 1}, begun, over);
    work.synchronize();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_EQ(hangs > 0, long_work) << "the work took " << took.count() << " s";
  }
}

}  // namespace
}  // namespace tsugi
