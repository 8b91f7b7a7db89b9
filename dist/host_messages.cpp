#include "dist/host_messages.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <set>
#include <thread>

#include "dist/lost_peer.h"

namespace tsugi {
namespace {

using Clock = std::chrono::steady_clock;

// Two ranks that compute in step are apart for so long. After that a rank sleeps, and its bell wakes it, which takes
// tens of microseconds in a virtual machine.
constexpr std::chrono::microseconds kSpin{300};
constexpr double kLongestSleep = 1.0;  // seconds
// Bytes of one call, which the system cannot interrupt.
constexpr size_t kLongestRead = size_t{64} << 20;

/// 0, or the errno that says why not.
int read_memory(pid_t process, const void* from, void* to, size_t bytes) {
  auto* target = static_cast<char*>(to);
  const auto* source = static_cast<const char*>(from);
  while (bytes > 0) {
    const size_t piece = std::min(bytes, kLongestRead);
    const iovec local{target, piece};
    const iovec remote{const_cast<char*>(source), piece};
    const ssize_t got = process_vm_readv(process, &local, 1, &remote, 1, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got < 0 ? errno : EFAULT;
    target += got;
    source += got;
    bytes -= static_cast<size_t>(got);
  }
  return 0;
}

std::string name_of(int rank) { return "rank " + std::to_string(rank); }

}  // namespace

bool can_read_all(const std::vector<HostSeat*>& seats) {
  return std::all_of(seats.begin(), seats.end(), [](const HostSeat* seat) {
    uint64_t proof = 0;
    return seat == nullptr ||
           (read_memory(seat->process, seat->proof_at, &proof, sizeof(proof)) == 0 && proof == seat->proof);
  });
}

HostMessages::HostMessages(int rank, std::vector<HostSeat*> seats, const std::vector<int>& local_ranks,
                           double timeout_seconds)
    : rank_(rank), timeout_seconds_(timeout_seconds), own_(seats[static_cast<size_t>(rank)]), peers_(seats.size()) {
  for (size_t peer = 0; peer < seats.size(); ++peer) {
    if (seats[peer] == nullptr || seats[peer] == own_) continue;
    peers_[peer].seat = seats[peer];
    peers_[peer].out = seats[peer]->mailboxes() + local_ranks[static_cast<size_t>(rank)];
    peers_[peer].in = own_->mailboxes() + local_ranks[peer];
  }
}

std::shared_ptr<HostOperation> HostMessages::post(CollectiveId id, const std::vector<Transfer>& sends,
                                                  const std::vector<Transfer>& receives) {
  throw_if_failed();
  auto operation = std::make_shared<HostOperation>();
  operation->id = id;
  operation->open_receives = receives.size();
  for (const Transfer& receive : receives) {
    peers_[static_cast<size_t>(receive.peer)].awaited.push_back({receive, operation});
  }
  for (const Transfer& send : sends) {
    const auto index = static_cast<size_t>(send.peer);
    peers_[index].backlog.push_back({send.data, send.bytes, id.sequence});
    operation->sent.emplace_back(index, ++peers_[index].posted);
  }
  serve();
  return operation;
}

bool HostMessages::publish(Peer& peer) {
  if (peer.backlog.empty()) return false;
  bool any = false;
  const uint64_t taken = peer.out->taken.load(std::memory_order_acquire);
  for (; !peer.backlog.empty() && peer.published - taken < HostMailbox::kLetters; any = true) {
    const Outgoing& next = peer.backlog.front();
    const uint64_t number = ++peer.published;
    HostLetter& letter = peer.out->letters[number % HostMailbox::kLetters];
    letter.data = next.data;
    letter.bytes = next.bytes;
    letter.collective = next.collective;
    letter.number.store(number, std::memory_order_release);
    peer.backlog.pop_front();
  }
  return any;
}

bool HostMessages::read(int rank, const Peer& peer, const HostLetter& letter, const Transfer& to) {
  const int problem = read_memory(peer.seat->process, letter.data, to.data, to.bytes);
  // Whoever has failed may have changed its bytes before they were read. What it says itself is the better reason.
  if (peer.seat->failed.load() != 0 || problem == ESRCH) return false;
  if (problem != 0) give_up("the memory of " + name_of(rank) + " cannot be read: " + std::strerror(problem));
  return true;
}

bool HostMessages::take(int rank, Peer& peer) {
  bool any = false;
  for (; !peer.awaited.empty(); any = true) {
    const HostLetter& letter = peer.in->letters[(peer.taken + 1) % HostMailbox::kLetters];
    if (letter.number.load(std::memory_order_acquire) != peer.taken + 1) break;
    const Incoming& next = peer.awaited.front();
    const CollectiveId& id = next.operation->id;
    if (letter.collective != id.sequence || letter.bytes != next.to.bytes) {
      give_up(id.to_string() + ": " + name_of(rank) + " sent " + std::to_string(letter.bytes) +
              " bytes of collective #" + std::to_string(letter.collective) + " instead of " +
              std::to_string(next.to.bytes) + " of this one");
    }
    if (!read(rank, peer, letter, next.to)) break;
    peer.in->taken.store(++peer.taken, std::memory_order_release);
    --next.operation->open_receives;
    peer.awaited.pop_front();
  }
  return any;
}

bool HostMessages::serve() {
  bool any = false;
  for (size_t i = 1; i < peers_.size(); ++i) {  // each begins with its neighbour: not all read the same memory at once
    const size_t rank = (static_cast<size_t>(rank_) + i) % peers_.size();
    Peer& peer = peers_[rank];
    if (peer.seat == nullptr) continue;
    const bool published = publish(peer);
    const bool took = take(static_cast<int>(rank), peer);
    if (!published && !took) continue;
    peer.seat->bell.knock();
    any = true;
  }
  return any;
}

bool HostMessages::complete(const HostOperation& operation) const {
  return operation.open_receives == 0 &&
         std::all_of(operation.sent.begin(), operation.sent.end(), [&](const auto& sent) {
           return peers_[sent.first].out->taken.load(std::memory_order_acquire) >= sent.second;
         });
}

void HostMessages::wait(HostOperation& operation) {
  if (operation.done) return;
  const auto start = Clock::now();
  auto last = start;  // something happened
  while (true) {
    throw_if_failed();
    const uint32_t rings = own_->bell.rings();
    const bool served = serve();
    operation.done = complete(operation);
    if (operation.done) return;
    const auto now = Clock::now();
    if (served) last = now;
    if (now - last < kSpin) {
      std::this_thread::yield();
      continue;
    }
    const double left = timeout_seconds_ - std::chrono::duration<double>(now - start).count();
    if (left <= 0.0) {
      give_up(operation.id.to_string() + " did not finish within " + in_seconds(timeout_seconds_) + ": it waits for " +
              missing(operation));
    }
    own_->bell.sleep(rings, std::chrono::nanoseconds(static_cast<int64_t>(1e9 * std::min(left, kLongestSleep))));
  }
}

void HostMessages::abandon(const HostOperation& operation) {
  if (!failed() && !operation.done && !complete(operation)) fail(operation.id.to_string() + " was abandoned");
}

std::string HostMessages::missing(const HostOperation& operation) const {
  std::set<int> from;
  std::set<int> to;
  for (size_t rank = 0; rank < peers_.size(); ++rank) {
    const auto& awaited = peers_[rank].awaited;
    if (std::any_of(awaited.begin(), awaited.end(), [&](const auto& a) { return a.operation.get() == &operation; })) {
      from.insert(static_cast<int>(rank));
    }
  }
  for (const auto& [peer, number] : operation.sent) {
    if (peers_[peer].out->taken.load(std::memory_order_acquire) < number) to.insert(static_cast<int>(peer));
  }
  return missing_ranks(from, to);
}

void HostMessages::fail(const std::string& what) {
  if (failed()) return;
  failure_ = what;
  own_->failed.store(1);
}

void HostMessages::give_up(const std::string& what) {
  fail(what);
  throw_lost_peer(rank_, static_cast<int>(peers_.size()), failure_);
}

void HostMessages::throw_if_failed() const {
  if (failed()) throw_lost_peer(rank_, static_cast<int>(peers_.size()), failure_);
}

}  // namespace tsugi
