// Ranks that are threads of one process: their memory is read through the system all the same.
#include "dist/host_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <thread>

#include "ops/base/error.h"

namespace tsugi {
namespace {

using ::testing::HasSubstr;

/// What the ranks of a host share.
class Host {
 public:
  explicit Host(int ranks) {
    for (int rank = 0; rank < ranks; ++rank) {
      memory_.emplace_back(HostSeat::bytes(ranks) / sizeof(Block));
      seats_.push_back(new (memory_.back().data()) HostSeat);
      std::uninitialized_default_construct_n(seats_.back()->mailboxes(), ranks);
      local_ranks_.push_back(rank);
      seats_.back()->process = getpid();
      seats_.back()->proof = proof_;
      seats_.back()->proof_at = &proof_;
    }
  }
  HostMessages messages(int rank, double timeout_seconds = 30.0) const {
    return HostMessages(rank, seats_, local_ranks_, timeout_seconds);
  }
  const std::vector<HostSeat*>& seats() const { return seats_; }

 private:
  struct alignas(64) Block {
    char bytes[64];
  };
  const uint64_t proof_ = 0x1234567;
  std::vector<std::vector<Block>> memory_;
  std::vector<HostSeat*> seats_;
  std::vector<int> local_ranks_;
};

struct Message {
  explicit Message(int peer, size_t bytes, char value) : data(bytes, value), transfer{peer, data.data(), bytes} {}
  Message(const Message&) = delete;
  std::vector<char> data;
  Transfer transfer;
};

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kPeerLost);
    return error.what();
  }
  return "no error";
}

class HostMessagesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!can_read_all(host.seats())) GTEST_SKIP() << "this system lets no process read memory like this";
  }
  Host host{2};
};

TEST_F(HostMessagesTest, MoreThanFitAMailboxWaitedForInOppositeOrders) {
  constexpr int kMessages = 3 * static_cast<int>(HostMailbox::kLetters);
  const auto run = [&](int rank) {
    HostMessages messages = host.messages(rank);
    const int peer = 1 - rank;
    std::deque<Message> out, in;
    std::deque<std::shared_ptr<HostOperation>> operations;
    for (int i = 0; i < kMessages; ++i) {
      const size_t bytes = 1 + 997 * static_cast<size_t>(i);
      out.emplace_back(peer, bytes, static_cast<char>(i + 100 * rank));
      in.emplace_back(peer, bytes, '?');
      operations.push_back(
          messages.post({"exchange", static_cast<uint64_t>(i)}, {out.back().transfer}, {in.back().transfer}));
    }
    if (rank == 1) std::reverse(operations.begin(), operations.end());
    for (const auto& operation : operations) messages.wait(*operation);
    for (int i = 0; i < kMessages; ++i) {
      const Message& message = in[static_cast<size_t>(i)];
      EXPECT_EQ(message.data, std::vector<char>(message.data.size(), static_cast<char>(i + 100 * peer))) << i;
    }
  };
  std::thread other([&] { run(1); });
  run(0);
  other.join();
}

TEST_F(HostMessagesTest, ABufferIsFreeOnceItsMessageIsTaken) {
  HostMessages sender = host.messages(0, 0.2), receiver = host.messages(1);
  Message out(1, 1000, 'a'), in(0, 1000, '?');
  const auto sent = sender.post({"exchange", 1}, {out.transfer}, {});
  EXPECT_THAT(error_of([&] { sender.wait(*sent); }), HasSubstr("rank 0 of 2: exchange #1 did not finish within 0.2 s: "
                                                               "it waits for rank 1 to take ours"));
  EXPECT_THAT(error_of([&] { sender.post({"exchange", 2}, {}, {}); }), HasSubstr("exchange #1 did not finish"));
}

TEST_F(HostMessagesTest, WhoFailedIsNotReadAnyMore) {
  HostMessages sender = host.messages(0), receiver = host.messages(1, 0.2);
  Message out(1, 1000, 'a'), in(0, 1000, '?');
  const auto sent = sender.post({"exchange", 1}, {out.transfer}, {});
  sender.abandon(*sent);
  EXPECT_THAT(error_of([&] { sender.wait(*sent); }), HasSubstr("exchange #1 was abandoned"));
  const auto received = receiver.post({"exchange", 1}, {}, {in.transfer});
  EXPECT_THAT(error_of([&] { receiver.wait(*received); }), HasSubstr("it waits for data from rank 0"));
}

TEST_F(HostMessagesTest, WhatIsOverCanBeAbandoned) {
  HostMessages sender = host.messages(0), receiver = host.messages(1);
  Message out(1, 1000, 'a'), in(0, 1000, '?');
  const auto sent = sender.post({"exchange", 1}, {out.transfer}, {});
  const auto received = receiver.post({"exchange", 1}, {}, {in.transfer});
  receiver.wait(*received);
  EXPECT_EQ(in.data, out.data);
  sender.abandon(*sent);
  receiver.abandon(*received);
  EXPECT_NO_THROW(sender.post({"exchange", 2}, {}, {}));
  receiver.fail("something else");
  EXPECT_NO_THROW(receiver.wait(*received));
}

TEST_F(HostMessagesTest, RanksThatDisagreeAboutWhatComesNext) {
  HostMessages sender = host.messages(0), receiver = host.messages(1);
  Message out(1, 1000, 'a'), in(0, 1000, '?'), longer(0, 1001, '?');
  const auto sent = sender.post({"broadcast", 7}, {out.transfer}, {});
  EXPECT_THAT(error_of([&] { receiver.post({"exchange", 6}, {}, {in.transfer}); }),
              HasSubstr("exchange #6: rank 0 sent 1000 bytes of collective #7 instead of 1000 of this one"));
  EXPECT_EQ(in.data, std::vector<char>(1000, '?'));
  HostMessages another = host.messages(1);
  EXPECT_THAT(error_of([&] { another.post({"broadcast", 7}, {}, {longer.transfer}); }),
              HasSubstr("instead of 1001 of this one"));
}

TEST_F(HostMessagesTest, MemoryThatIsNotThere) {
  HostMessages sender = host.messages(0), receiver = host.messages(1);
  Message in(0, 1000, '?');
  const auto sent = sender.post({"exchange", 1}, {{1, reinterpret_cast<void*>(4096), 1000}}, {});
  EXPECT_THAT(error_of([&] { receiver.post({"exchange", 1}, {}, {in.transfer}); }),
              HasSubstr("the memory of rank 0 cannot be read: Bad address"));
}

TEST_F(HostMessagesTest, AProofThatIsNotRight) {
  const uint64_t other = 5;
  host.seats()[1]->proof_at = &other;
  EXPECT_FALSE(can_read_all(host.seats()));
  EXPECT_TRUE(can_read_all({host.seats()[0], nullptr}));
}

}  // namespace
}  // namespace tsugi
