// The communicator over NCCL on emulated CUDA, with ranks that are processes and a library over shared memory.
//   mpirun -np 2 nccl_program
#include <glog/logging.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <deque>
#include <iostream>
#include <string_view>
#include <thread>

#include "dist/nccl_communicator.h"
#include "dist/world.h"
#include "ops/base/error.h"
#include "ops/cuda/signal.h"
#include "ops/cuda/upload_ring.h"
#include "tests/dist/cuda/shared_memory_nccl.h"

namespace tsugi::testing {
namespace {

using ::testing::HasSubstr;
using Bytes = std::vector<unsigned char>;

constexpr double kLimit = 1.0;  // seconds

World* world = nullptr;

void must_not_hang(const Error& error) { LOG(FATAL) << error.what(); }

/// Bytes that say who sends what to whom.
Bytes message(int from, int to, size_t bytes) {
  Bytes result(bytes);
  for (size_t i = 0; i < bytes; ++i)
    result[i] = static_cast<unsigned char>(7 * i + 31 * static_cast<size_t>(from) + static_cast<size_t>(to));
  return result;
}

class Nccl : public ::testing::Test {
 protected:
  void SetUp() override {
    nccl_faults() = {};
    before_ = nccl_end();
    world->communicator().barrier();
  }
  void TearDown() override { world->communicator().barrier(); }

  int rank() const { return world->rank(); }
  int size() const { return world->size(); }
  NcclConnection connect() {
    return connect_nccl(&shared_memory_nccl(), "", world->communicator(), work_, kLimit, must_not_hang);
  }
  cuda::Buffer upload(const Bytes& bytes) {
    cuda::Buffer buffer(bytes.size());
    work_.copy(buffer.data(), bytes.data(), bytes.size());
    work_.synchronize();
    return buffer;
  }
  Bytes read(const cuda::Buffer& buffer) {
    Bytes bytes(buffer.bytes());
    work_.copy(bytes.data(), buffer.data(), bytes.size());
    work_.synchronize();
    return bytes;
  }
  /// One all-to-all of messages of different lengths, posted and not waited for.
  struct Exchange {
    std::vector<cuda::Buffer> out, in;
    std::unique_ptr<Pending> pending;
  };
  static size_t length(int from, int to) {
    return 1 + 4000 * static_cast<size_t>(from) + 977 * static_cast<size_t>(to);
  }
  Exchange exchange(Communicator& nccl) {
    Exchange e;
    std::vector<Transfer> sends, receives;
    for (int peer = 0; peer < size(); ++peer) {
      // Written on the stream of the work, which has not run when the exchange is posted.
      const Bytes mine = message(rank(), peer, length(rank(), peer));
      kept_.push_back(mine);
      e.out.emplace_back(mine.size());
      work_.copy(e.out.back().data(), kept_.back().data(), mine.size());
      sends.push_back({peer, e.out.back().data(), mine.size()});
      e.in.emplace_back(length(peer, rank()));
      receives.push_back({peer, e.in.back().data(), e.in.back().bytes()});
    }
    e.pending = nccl.exchange(std::move(sends), std::move(receives));
    return e;
  }
  void expect_arrived(const Exchange& e) {
    for (int peer = 0; peer < size(); ++peer) {
      EXPECT_EQ(read(e.in[static_cast<size_t>(peer)]), message(peer, rank(), length(peer, rank()))) << "from " << peer;
    }
  }
  /// What the communicator says when it fails; checks the code, and that it stays failed.
  std::string failure(Communicator& nccl) {
    std::string said = "nothing failed";
    try {
      for (int i = 0; i < 3; ++i) exchange(nccl).pending->wait();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kPeerLost);
      said = error.what();
    }
    try {
      exchange(nccl);
      ADD_FAILURE() << "goes on after a failure";
    } catch (const Error& error) {
      EXPECT_EQ(error.what(), said);
    }
    return said;
  }
  std::string refusal(ExitCode code) {
    try {
      connect();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      EXPECT_TRUE(error.on_all_ranks());
      return error.what();
    }
    return "no error";
  }
  int aborted() const { return nccl_end().aborted - before_.aborted; }
  int destroyed() const { return nccl_end().destroyed - before_.destroyed; }

  cuda::Stream work_;
  std::deque<Bytes> kept_;
  NcclEnd before_;
};

TEST_F(Nccl, TransfersComeAfterTheWorkAndInOrder) {
  nccl_faults().delay_seconds = 0.02 * rank();
  {
    const NcclConnection connection = connect();
    EXPECT_EQ(connection.description, "NCCL 2.28.9");
    Communicator& nccl = *connection.communicator;
    EXPECT_EQ(nccl.rank(), rank());
    std::vector<Exchange> under_way;
    for (int i = 0; i < 3; ++i) under_way.push_back(exchange(nccl));
    for (const Exchange& e : under_way) e.pending->wait();
    for (const Exchange& e : under_way) expect_arrived(e);

    // Parts of different lengths, one of them empty.
    std::vector<size_t> offsets{0};
    for (int r = 0; r < size(); ++r) offsets.push_back(offsets.back() + static_cast<size_t>(r == 1 ? 0 : 5000 + r));
    Bytes whole(offsets.back(), 0);
    const auto mine = static_cast<size_t>(rank());
    std::fill(whole.begin() + static_cast<ptrdiff_t>(offsets[mine]),
              whole.begin() + static_cast<ptrdiff_t>(offsets[mine + 1]), static_cast<unsigned char>(rank() + 1));
    const cuda::Buffer gathered = upload(whole);
    nccl.all_gather(gathered.data(), offsets)->wait();
    const Bytes got = read(gathered);
    for (size_t r = 0; r + 1 < offsets.size(); ++r) {
      for (size_t i = offsets[r]; i < offsets[r + 1]; ++i) ASSERT_EQ(got[i], r + 1);
    }
    EXPECT_EQ(nccl.all_gather_strings(std::to_string(rank()))[1], "1");
  }
  EXPECT_EQ(destroyed(), 1);
  EXPECT_EQ(aborted(), 0);
}

TEST_F(Nccl, OrderedTransfersLetTheHostGoOn) {
  nccl_faults().delay_seconds = 0.02 * rank();
  const auto next = static_cast<size_t>((rank() + 1) % size());
  // Copies what has come on the stream of the work, without the host's waiting for it.
  const auto used = [&](Communicator& nccl, bool ordered) {
    const Exchange e = exchange(nccl);
    const cuda::Buffer copy = upload(Bytes(e.in[next].bytes(), 0));
    if (ordered) e.pending->order();
    work_.copy(copy.data(), e.in[next].data(), copy.bytes());
    e.pending->wait();
    EXPECT_EQ(e.pending->stalled_seconds() > 0.0, ordered);
    return read(copy);
  };
  const NcclConnection connection = connect();
  bool wrong = false;
  for (int i = 0; i < 8; ++i) {
    const Bytes expected = message(static_cast<int>(next), rank(), length(static_cast<int>(next), rank()));
    EXPECT_EQ(used(*connection.communicator, true), expected);
    wrong |= used(*connection.communicator, false) != expected;
  }
  EXPECT_TRUE(wrong) << "without its event the work reads what has not come yet";
}

TEST_F(Nccl, TheTimeLimitDoesNotCountWhatIsComputedBefore) {
  const NcclConnection connection = connect();
  const Exchange e = exchange(*connection.communicator);
  const auto over = std::chrono::steady_clock::now() + std::chrono::duration<double>(1.5 * kLimit);
  cuda::enqueue_when(work_, [&] { return std::chrono::steady_clock::now() > over; });
  e.pending->order();
  e.pending->wait();
  EXPECT_GE(std::chrono::steady_clock::now(), over);
  expect_arrived(e);
}

TEST_F(Nccl, AHostThatComesLateIsNotTakenForOneThatHangs) {
  const NcclConnection connection = connect();
  const Exchange e = exchange(*connection.communicator);
  const auto begins = std::chrono::steady_clock::now() + std::chrono::duration<double>(2.5 * kLimit);
  cuda::enqueue_when(work_, [&] { return std::chrono::steady_clock::now() > begins; });
  e.pending->order();
  cuda::Signal behind;
  behind.record(work_);
  while (!behind.done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  {
    const cuda::Buffer other(1);
  }  // the emulator runs all that there is before it takes memory back
  std::this_thread::sleep_for(std::chrono::duration<double>(2.5 * kLimit));
  e.pending->wait();
  expect_arrived(e);
}

TEST_F(Nccl, ARankThatHangsWhileTheHostHasGoneOn) {
  if (rank() == 1) nccl_faults().stop_in_group = 1;
  const NcclConnection connection = connect();
  const Exchange e = exchange(*connection.communicator);
  e.pending->order();
  try {
    e.pending->wait();
    ADD_FAILURE() << "nothing failed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kPeerLost);
    EXPECT_THAT(error.what(), HasSubstr("exchange #1 over NCCL did not finish within 1 s"));
  }
}

TEST_F(Nccl, UploadsDoNotWaitForARankThatHangs) {
  if (rank() == 1) nccl_faults().stop_in_group = 1;
  const NcclConnection connection = connect();
  cuda::UploadRing uploads;
  const Bytes much = message(rank(), rank(), cuda::UploadRing::kSegments * cuda::UploadRing::kSegmentBytes);
  const cuda::Buffer to(much.size());
  uploads.copy(work_, to.data(), much.data(), much.size());  // no byte of the ring is left
  const Exchange e = exchange(*connection.communicator);
  e.pending->order();
  for (int i = 0; i < 100; ++i) uploads.copy(work_, to.data(), much.data(), 48);
  try {
    e.pending->wait();
    ADD_FAILURE() << "nothing failed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kPeerLost);
  }
}

TEST(NcclLibrary, IsFoundOrSaysWhyNot) {
  std::string why;
  const NcclTable* const nccl = load_nccl(why);
  EXPECT_EQ(nccl == nullptr, !why.empty());
  int version = 0;
  if (nccl != nullptr) {
    EXPECT_EQ(nccl->get_version(&version), kNcclSuccess);
    EXPECT_GT(version, 21800);
  }
}

TEST_F(Nccl, WhereNobodyHasItThereIsNone) {
  const NcclConnection connection =
      connect_nccl(nullptr, "no such file", world->communicator(), work_, kLimit, must_not_hang);
  EXPECT_EQ(connection.communicator, nullptr);
  EXPECT_THAT(connection.description, HasSubstr("no such file"));
}

TEST_F(Nccl, WhereSomeHaveItAllRefuse) {
  try {
    connect_nccl(rank() == 1 ? nullptr : &shared_memory_nccl(), "no such file", world->communicator(), work_, kLimit,
                 must_not_hang);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("rank 0 has 2.28.9, rank 1 has none (no such file)"));
  }
}

TEST_F(Nccl, VersionsThatDifferAreNamed) {
  if (rank() == 1) nccl_faults().version = 22305;
  EXPECT_THAT(refusal(ExitCode::kUsage), HasSubstr("rank 0 has 2.28.9, rank 1 has 2.23.5"));
}

TEST_F(Nccl, VersionsThatAreTooOldAreNamed) {
  nccl_faults().version = 21705;
  EXPECT_THAT(refusal(ExitCode::kUsage), HasSubstr("NCCL 2.17.5 is older than 2.18.0"));
  nccl_faults().version = 2804;
  EXPECT_THAT(refusal(ExitCode::kUsage), HasSubstr("NCCL 2.8.4 is older"));
}

TEST_F(Nccl, NoIdentifier) {
  nccl_faults().no_unique_id = true;
  EXPECT_THAT(refusal(ExitCode::kPeerLost), HasSubstr("ncclGetUniqueId: unhandled system error"));
}

TEST_F(Nccl, ARankThatDoesNotJoinEndsAllInTime) {
  nccl_faults().never_joins = rank() == 1;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(refusal(ExitCode::kPeerLost), HasSubstr("joining the ranks did not finish within 0.5 s"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  EXPECT_EQ(aborted(), 1);
}

TEST_F(Nccl, AnErrorOfTheLibraryAborts) {
  if (rank() == 1) nccl_faults().error_in_group = 2;
  const NcclConnection connection = connect();
  const std::string said = failure(*connection.communicator);
  EXPECT_THAT(said, HasSubstr(rank() == 1 ? "exchange #2 over NCCL: an operation: remote process exited"
                                          : "over NCCL did not finish within 1 s"));
  EXPECT_EQ(aborted(), 1);
}

TEST_F(Nccl, ARankThatHangsIsNoticed) {
  if (rank() == 1) nccl_faults().stop_in_group = 2;
  const NcclConnection connection = connect();
  EXPECT_THAT(failure(*connection.communicator), HasSubstr("exchange #2 over NCCL did not finish within 1 s"));
  EXPECT_EQ(aborted(), 1);
  EXPECT_EQ(destroyed(), 0);
}

TEST_F(Nccl, ACallThatIsRefused) {
  nccl_faults().refuse_in_group = 1;
  const NcclConnection connection = connect();
  EXPECT_THAT(failure(*connection.communicator), HasSubstr("exchange #1 over NCCL: ncclSend: invalid usage"));
  EXPECT_EQ(aborted(), 1);
  EXPECT_FALSE(nccl_end().in_group);
}

TEST_F(Nccl, WhatIsLeftUnderWayIsGivenUp) {
  const NcclConnection connection = connect();
  {
    const Exchange left = exchange(*connection.communicator);
  }
  EXPECT_THAT(failure(*connection.communicator), HasSubstr("exchange #1 over NCCL was given up"));
  EXPECT_EQ(aborted(), 1);
}

}  // namespace
}  // namespace tsugi::testing

namespace {

void say(const tsugi::World& world, const tsugi::Error& error) {
  const std::string line = "rank " + std::to_string(world.rank()) + ": " + error.what() + "\n";
  std::cerr << line << std::flush;  // one write, so that lines of several ranks do not mix
}

/// Exchanges without end, in which rank 1 dies with messages under way. The others say what they were told.
int die(tsugi::World& world) {
  using namespace tsugi;
  cuda::Stream work;
  try {
    const NcclConnection nccl = connect_nccl(&tsugi::testing::shared_memory_nccl(), "", world.communicator(), work, 2.0,
                                             tsugi::testing::must_not_hang);
    const cuda::Buffer out(size_t{1} << 20), in(out.bytes());
    for (int i = 1;; ++i) {
      std::vector<Transfer> sends, receives;
      for (int peer = 0; peer < world.size(); ++peer) {
        sends.push_back({peer, static_cast<std::byte*>(out.data()) + 4096 * peer, 4096});
        receives.push_back({peer, static_cast<std::byte*>(in.data()) + 4096 * peer, 4096});
      }
      const auto pending = nccl.communicator->exchange(std::move(sends), std::move(receives));
      if (i == 3 && world.rank() == 1) std::raise(SIGKILL);
      pending->wait();
    }
  } catch (const Error& error) {
    say(world, error);
    world.abort(static_cast<int>(error.code()));
  }
}

/// Rank 1 hangs, and the hosts of all come to nothing any more, as in a call of CUDA that takes no more work.
int hang(tsugi::World& world) {
  using namespace tsugi;
  if (world.rank() == 1) tsugi::testing::nccl_faults().stop_in_group = 1;
  cuda::Stream work;
  const NcclConnection nccl =
      connect_nccl(&tsugi::testing::shared_memory_nccl(), "", world.communicator(), work, 0.5, [&](const Error& error) {
        say(world, error);
        world.abort(static_cast<int>(error.code()));
      });
  const cuda::Buffer out(4096), in(4096);
  const int peer = (world.rank() + 1) % world.size(), from = (world.rank() + world.size() - 1) % world.size();
  const auto pending = nccl.communicator->exchange({{peer, out.data(), 4096}}, {{from, in.data(), 4096}});
  pending->order();
  cuda::Signal behind;
  behind.record(work);
  behind.done();  // the emulator runs what can run
  std::this_thread::sleep_for(std::chrono::seconds(60));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  ::testing::InitGoogleMock(&argc, argv);
  tsugi::World world({.timeout_seconds = 60});
  tsugi::testing::world = &world;
  if (argc > 1 && std::string_view(argv[1]) == "--die") return die(world);
  if (argc > 1 && std::string_view(argv[1]) == "--hang") return hang(world);
  const int result = RUN_ALL_TESTS();
  // One verdict: ranks that leave with different codes would be killed on the way.
  return tsugi::all_reduce_max(world.communicator(), result) == 0 ? 0 : 1;
}
