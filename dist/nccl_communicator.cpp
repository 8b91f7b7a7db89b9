#include "dist/nccl_communicator.h"

#include <glog/logging.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <limits>
#include <thread>

#include "dist/lost_peer.h"
#include "dist/point_to_point.h"
#include "ops/base/error.h"
#include "ops/cuda/signal.h"
#include "ops/cuda/timer.h"

namespace tsugi {
namespace {

using Clock = std::chrono::steady_clock;

/// Asks again and again with growing pauses until done() or the limit; false: the limit.
template <class F>
bool poll_until(double seconds, F&& done) {
  const Clock::time_point start = Clock::now();
  auto pause = std::chrono::microseconds(2);
  while (!done()) {
    if (std::chrono::duration<double>(Clock::now() - start).count() > seconds) return false;
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(200));
  }
  return true;
}

std::string version_of(int code) {
  if (code < 10000) {  // before 2.9
    return std::to_string(code / 1000) + "." + std::to_string(code / 100 % 10) + "." + std::to_string(code % 100);
  }
  return std::to_string(code / 10000) + "." + std::to_string(code / 100 % 100) + "." + std::to_string(code % 100);
}

/// NCCL's communicator, shared with what is under way.
class Session {
 public:
  Session(const NcclTable& table, double timeout_seconds, NcclWatchdog::OnHang on_hang)
      : nccl_(table), timeout_(timeout_seconds), watchdog_(2 * timeout_seconds, std::move(on_hang)) {}
  ~Session() {
    if (comm_ == nullptr) return;
    // With an exception on its way the peers may never come to the end.
    if (std::uncaught_exceptions() > exceptions_ || nccl_.comm_finalize(comm_) > kNcclInProgress || !settle(timeout_)) {
      nccl_.comm_abort(comm_);
    } else {
      nccl_.comm_destroy(comm_);
    }
  }
  Session(const Session&) = delete;

  /// Empty, or what went wrong within the limit.
  std::string join(int ranks, const NcclId& id, int rank, double seconds) {
    NcclConfig config;
    const int result = nccl_.comm_init_rank_config(&comm_, ranks, id, rank, &config);
    if (result != kNcclSuccess && result != kNcclInProgress) return say("ncclCommInitRankConfig", result);
    if (settle(seconds)) return {};
    const std::string problem = error_ != kNcclSuccess
                                    ? say("joining the ranks", error_)
                                    : "NCCL: joining the ranks did not finish within " + in_seconds(seconds);
    abort();
    return problem;
  }

  /// Throws if the session has failed.
  void check_usable() const {
    if (!failure_.empty()) throw Error(ExitCode::kPeerLost, failure_);
  }
  /// Of the calls of a group.
  void check(CollectiveId id, const char* call, int result) {
    if (result != kNcclSuccess && result != kNcclInProgress) fail(id.to_string() + " over " + say(call, result));
  }
  /// The same for a call between the beginning and the end of a group, which NCCL must not be left in.
  void check_in_group(CollectiveId id, const char* call, int result) {
    if (result != kNcclSuccess && result != kNcclInProgress) nccl_.group_end();
    check(id, call, result);
  }
  /// Ends a group: what it asks for is on its stream when this returns.
  void end_group(CollectiveId id) {
    check(id, "ncclGroupEnd", nccl_.group_end());
    if (settle(timeout_)) return;
    if (error_ != kNcclSuccess) fail(id.to_string() + " over " + say("the start of an operation", error_));
    fail(id.to_string() + " over NCCL did not start within " + in_seconds(timeout_));
  }

  /// The time limit counts from the moment when the device has come to `before`: what this rank computes until then
  /// is no part of it.
  void wait(CollectiveId id, const cuda::Signal& before, const cuda::Signal& done) {
    check_usable();
    wait(id, before, std::numeric_limits<double>::infinity());
    wait(id, done, timeout_);
  }

  void wait(CollectiveId id, const cuda::Signal& done, double seconds) {
    int error = kNcclSuccess;
    const bool in_time = poll_until(seconds, [&] {
      if (done.done()) return true;
      const int result = nccl_.comm_get_async_error(comm_, &error);
      if (result != kNcclSuccess) error = result;
      return error != kNcclSuccess && error != kNcclInProgress;
    });
    if (!in_time) {
      fail(id.to_string() + " over NCCL did not finish within " + in_seconds(timeout_) +
           ": a rank is gone, hangs, or is slower than dist.timeout_seconds allows");
    }
    if (error != kNcclSuccess && error != kNcclInProgress) fail(id.to_string() + " over " + say("an operation", error));
  }

  /// What was under way is given up, and with it the session.
  void give_up(CollectiveId id) {
    if (!failure_.empty()) return;
    failure_ = id.to_string() + " over NCCL was given up because of an error on this rank";
    abort();
  }

  const NcclTable& nccl() const { return nccl_; }
  NcclWatchdog& watchdog() { return watchdog_; }
  void* comm() const { return comm_; }

 private:
  /// Waits for what the library does by itself; false: an error (in error_), or the time limit.
  bool settle(double seconds) {
    error_ = kNcclInProgress;
    const bool in_time = poll_until(seconds, [&] {
      const int result = nccl_.comm_get_async_error(comm_, &error_);
      if (result != kNcclSuccess) error_ = result;
      return error_ != kNcclInProgress;
    });
    if (!in_time) error_ = kNcclSuccess;
    return in_time && error_ == kNcclSuccess;
  }

  [[noreturn]] void fail(const std::string& what) {
    failure_ = what;
    abort();
    throw Error(ExitCode::kPeerLost, failure_);
  }
  void abort() {
    if (comm_ != nullptr) nccl_.comm_abort(comm_);
    comm_ = nullptr;
  }

  std::string say(const std::string& what, int result) const {
    std::string text = "NCCL: " + what + ": " + nccl_.get_error_string(result);
    const char* const last = nccl_.get_last_error(comm_);
    if (last != nullptr && *last != '\0') text += std::string(" (") + last + ")";
    return text;
  }

  const NcclTable& nccl_;
  const double timeout_;
  const int exceptions_ = std::uncaught_exceptions();
  void* comm_ = nullptr;
  int error_ = kNcclSuccess;
  std::string failure_;
  NcclWatchdog watchdog_;
};

class NcclPending : public Pending {
 public:
  /// After the transfers were issued to `stream`, for a user of `work`.
  NcclPending(std::shared_ptr<Session> session, CollectiveId id, cuda::Stream& stream, cuda::Stream& work)
      : session_(std::move(session)), id_(id), work_(work) {
    stream.record(over_);
    done_.record(stream);
  }
  ~NcclPending() override {
    if (finished_) return;
    session_->give_up(id_);
    session_->watchdog().leave(id_);
  }
  void wait() override {
    if (finished_) return;
    session_->wait(id_, before_, ordered_ ? after_ : done_);
    if (ordered_) {
      session_->watchdog().leave(id_);
      stalled_seconds_ = stall_.seconds();
    }
    finished_ = true;
  }
  void order() override {
    if (finished_ || ordered_) return;
    session_->check_usable();
    ordered_ = true;
    before_.record(work_);
    work_.record(begun_);
    stall_.start(work_);
    work_.wait(over_);
    stall_.stop(work_);
    after_.record(work_);
    session_->watchdog().watch(id_, begun_, over_);
  }
  double stalled_seconds() const override { return stalled_seconds_; }

 private:
  std::shared_ptr<Session> session_;
  CollectiveId id_;
  cuda::Stream& work_;
  cuda::Event begun_, over_;
  cuda::Signal done_;            ///< for the host
  cuda::Signal before_, after_;  ///< around the place where the work waits
  cuda::Timer stall_;
  bool ordered_ = false;
  bool finished_ = false;
  double stalled_seconds_ = 0.0;
};

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(std::shared_ptr<Session> session, Communicator& below, cuda::Stream& work)
      : below_(below), work_(work), session_(std::move(session)) {}

  int rank() const override { return below_.rank(); }
  int size() const override { return below_.size(); }

  std::unique_ptr<Pending> exchange(std::vector<Transfer> sends, std::vector<Transfer> receives) override {
    return start("exchange", std::move(sends), std::move(receives));
  }

  std::unique_ptr<Pending> all_gather(void* buffer, std::vector<size_t> offsets) override {
    CHECK_EQ(static_cast<int>(offsets.size()), size() + 1);
    auto* const bytes = static_cast<std::byte*>(buffer);
    const auto part = [&](int peer, int owner) {
      const auto at = static_cast<size_t>(owner);
      return Transfer{peer, bytes + offsets[at], offsets[at + 1] - offsets[at]};
    };
    std::vector<Transfer> sends;
    std::vector<Transfer> receives;
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      sends.push_back(part(peer, rank()));
      receives.push_back(part(peer, peer));
    }
    return start("all_gather", std::move(sends), std::move(receives));
  }

  std::vector<std::string> all_gather_strings(std::string_view mine) override {
    return below_.all_gather_strings(mine);
  }
  std::string broadcast(std::string_view mine, int root) override { return below_.broadcast(mine, root); }
  void barrier() override { below_.barrier(); }

 private:
  std::unique_ptr<Pending> start(const char* name, std::vector<Transfer> sends, std::vector<Transfer> receives) {
    session_->check_usable();
    const CollectiveId id{name, ++sequence_};
    work_.record(ready_);
    stream_.wait(ready_);
    copy_own(sends, receives);
    const NcclTable& nccl = session_->nccl();
    session_->check(id, "ncclGroupStart", nccl.group_start());
    for (const Transfer& receive : receives) {
      if (receive.bytes == 0) continue;
      session_->check_in_group(
          id, "ncclRecv",
          nccl.recv(receive.data, receive.bytes, kNcclInt8, receive.peer, session_->comm(), cuda::handle_of(stream_)));
    }
    for (const Transfer& send : sends) {
      if (send.bytes == 0) continue;
      session_->check_in_group(
          id, "ncclSend",
          nccl.send(send.data, send.bytes, kNcclInt8, send.peer, session_->comm(), cuda::handle_of(stream_)));
    }
    session_->end_group(id);
    return std::make_unique<NcclPending>(session_, id, stream_, work_);
  }

  /// Takes the transfers of this rank to itself out of the lists.
  void copy_own(std::vector<Transfer>& sends, std::vector<Transfer>& receives) {
    const auto own = [&](const Transfer& transfer) { return transfer.peer == rank(); };
    std::vector<Transfer> from, to;
    std::copy_if(sends.begin(), sends.end(), std::back_inserter(from), own);
    std::copy_if(receives.begin(), receives.end(), std::back_inserter(to), own);
    CHECK_EQ(from.size(), to.size()) << "transfers to oneself do not match";
    for (size_t i = 0; i < from.size(); ++i) stream_.copy(to[i].data, from[i].data, from[i].bytes);
    std::erase_if(sends, own);
    std::erase_if(receives, own);
  }

  Communicator& below_;
  cuda::Stream& work_;
  cuda::Stream stream_;
  cuda::Event ready_;
  uint64_t sequence_ = 0;
  std::shared_ptr<Session> session_;  ///< last: gone before the stream that it works on
};

/// What every rank says of its library: a version, or "-" and why it has none.
std::string describe(const NcclTable* table, const std::string& why) {
  if (table == nullptr) return "-" + why;
  int version = 0;
  const int result = table->get_version(&version);
  return result == kNcclSuccess ? version_of(version) : std::string("-") + table->get_error_string(result);
}

}  // namespace

NcclConnection connect_nccl(const NcclTable* table, const std::string& why, Communicator& below, cuda::Stream& work,
                            double timeout_seconds, NcclWatchdog::OnHang on_hang) {
  const std::vector<std::string> libraries = below.all_gather_strings(describe(table, why));
  const auto without = [](const std::string& library) { return library.starts_with('-'); };
  if (std::all_of(libraries.begin(), libraries.end(), without)) {
    return {nullptr, "no NCCL (" + libraries[0].substr(1) + "): gradients go between ranks through the host"};
  }
  for (size_t rank = 1; rank < libraries.size(); ++rank) {
    if (libraries[rank] == libraries[0]) continue;
    const auto say = [&](size_t r) {
      return "rank " + std::to_string(r) +
             (without(libraries[r]) ? " has none (" + libraries[r].substr(1) + ")" : " has " + libraries[r]);
    };
    throw Error(ExitCode::kUsage, "the ranks do not have the same NCCL: " + say(0) + ", " + say(rank),
                "install one version on all hosts, and name its folder in LD_LIBRARY_PATH")
        .mark_on_all_ranks();
  }

  int version = 0;
  if (table->get_version(&version) == kNcclSuccess && version < kOldestNccl) {
    throw Error(
        ExitCode::kUsage,
        "NCCL " + version_of(version) + " is older than " + version_of(kOldestNccl) + ", the oldest that is used",
        "name the folder of a newer libnccl.so.2 in LD_LIBRARY_PATH")
        .mark_on_all_ranks();
  }

  NcclId id{};
  std::string from_root;
  if (below.rank() == 0) {
    const int result = table->get_unique_id(&id);
    from_root = result == kNcclSuccess ? std::string(id.internal, sizeof(id.internal))
                                       : std::string("ncclGetUniqueId: ") + table->get_error_string(result);
  }
  from_root = below.broadcast(from_root, 0);
  std::string problem;
  auto session = std::make_shared<Session>(*table, timeout_seconds, std::move(on_hang));
  if (from_root.size() == sizeof(id.internal)) {
    std::memcpy(id.internal, from_root.data(), sizeof(id.internal));
    // Half of the limit: a rank that fails at once waits for the others in `below`, whose limit is the whole.
    problem = session->join(below.size(), id, below.rank(), timeout_seconds / 2);
  } else {
    problem = "NCCL: " + from_root;
  }
  const std::vector<std::string> problems = below.all_gather_strings(problem);
  for (size_t rank = 0; rank < problems.size(); ++rank) {
    if (problems[rank].empty()) continue;
    session->give_up({"joining", 0});
    throw Error(ExitCode::kPeerLost, "rank " + std::to_string(rank) + ": " + problems[rank],
                "NCCL_DEBUG=INFO says more; NCCL_SOCKET_IFNAME names the network")
        .mark_on_all_ranks();
  }
  return {std::make_unique<NcclCommunicator>(std::move(session), below, work), "NCCL " + libraries[0]};
}

}  // namespace tsugi
