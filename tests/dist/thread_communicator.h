// Ranks that are threads of one process: run_ranks() calls a function on each.
//
// As unkind as a network may be. Receive buffers are spoilt at posting time. Nothing is delivered then: the receiver
// copies straight out of the sender's buffer when it waits, and the sender's wait() returns only after that. A buffer
// touched in between fails the test, and is a race for ThreadSanitizer.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "dist/point_to_point.h"

namespace tsugi::testing {

using namespace ::testing;  // inside of tsugi `testing` names both

struct Offer {
  std::string collective;
  Transfer transfer;
  std::string contents;  // when it was posted
  bool taken = false;
};

/// What the ranks share: a queue of offered messages for every pair of ranks.
struct Mailboxes {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::pair<int, int>, std::deque<std::shared_ptr<Offer>>> offers;  // by (from, to)
};

class ThreadCommunicator : public PointToPointCommunicator {
 public:
  ThreadCommunicator(Mailboxes& mailboxes, int rank, int size) : mailboxes_(mailboxes), rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }

 protected:
  std::unique_ptr<Pending> post(CollectiveId id, std::vector<Transfer> sends, std::vector<Transfer> receives) override {
    struct Messages : Pending {
      Messages(Mailboxes& m, int r) : mailboxes(m), rank(r) {}
      void wait() override {
        std::unique_lock lock(mailboxes.mutex);
        for (const Transfer& receive : receives) {
          auto& queue = mailboxes.offers[{receive.peer, rank}];
          mailboxes.changed.wait(lock, [&] { return !queue.empty(); });
          Offer& offer = *queue.front();
          EXPECT_EQ(offer.collective, collective);
          ASSERT_EQ(offer.transfer.bytes, receive.bytes) << collective;
          EXPECT_EQ(std::memcmp(offer.contents.data(), offer.transfer.data, receive.bytes), 0)
              << collective << ": a buffer was changed while it was sent";
          std::memcpy(receive.data, offer.transfer.data, receive.bytes);
          offer.taken = true;
          queue.pop_front();
          mailboxes.changed.notify_all();
        }
        for (const auto& offer : sent) {
          mailboxes.changed.wait(lock, [&] { return offer->taken; });
        }
        receives.clear();
        sent.clear();
      }
      Mailboxes& mailboxes;
      int rank;
      std::string collective;
      std::vector<Transfer> receives;
      std::vector<std::shared_ptr<Offer>> sent;
    };
    auto messages = std::make_unique<Messages>(mailboxes_, rank_);
    messages->collective = id.to_string();
    messages->receives = std::move(receives);
    for (const Transfer& receive : messages->receives) std::memset(receive.data, 0xAB, receive.bytes);
    std::lock_guard lock(mailboxes_.mutex);
    for (const Transfer& send : sends) {
      messages->sent.push_back(std::make_shared<Offer>(
          Offer{messages->collective, send, std::string(static_cast<const char*>(send.data), send.bytes)}));
      mailboxes_.offers[{rank_, send.peer}].push_back(messages->sent.back());
    }
    mailboxes_.changed.notify_all();
    return messages;
  }

 private:
  Mailboxes& mailboxes_;
  int rank_;
  int size_;
};

/// Runs body(communicator) on `size` threads at once. An exception that leaves the body ends the process: the other
/// ranks could never finish.
inline void run_ranks(int size, const std::function<void(Communicator&)>& body) {
  Mailboxes mailboxes;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadCommunicator communicator(mailboxes, rank, size);
      body(communicator);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& [pair, queue] : mailboxes.offers) {
    EXPECT_TRUE(queue.empty()) << "a message from " << pair.first << " to " << pair.second << " was not received";
  }
}

}  // namespace tsugi::testing
