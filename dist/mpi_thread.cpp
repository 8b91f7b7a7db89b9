#include "dist/mpi_thread.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <new>
#include <random>
#include <utility>

#include "dist/affinity.h"
#include "dist/lost_peer.h"
#include "ops/base/blocked_signals.h"

namespace tsugi {
namespace {

using std::chrono::microseconds;
using Clock = std::chrono::steady_clock;

// A test follows the last one at once while messages flow: for as long as two ranks that compute in step are apart, or
// longer once some part of a collective has come through. Then pauses grow with the time that nothing has happened, so
// that they prolong no wait by more than an eighth; the longest bounds the processor time of long waits (a pause costs
// 15-30 µs of it in a virtual machine).
constexpr microseconds kSpin{20};
constexpr microseconds kSpinInFlow{300};
constexpr microseconds kShortestPause{10};
constexpr microseconds kLongestPause{1000};

// Where a bell announces what happens, pauses are there for what it does not announce: inner steps of the MPI library,
// when its queues are full or it copies in fragments.
constexpr microseconds kSpinForBell{5};
constexpr microseconds kShortestPauseForBell{100};
constexpr microseconds kLongestPauseForBell{10000};
// After so many things in a row that it did not announce, the bell is no longer waited for.
constexpr int kDeaf = 4;

// How long a thread that makes an MPI call may take to come back from it.
constexpr std::chrono::seconds kPatience{3};

Clock::duration seconds(double value) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(std::min(value, 1e9)));
}

}  // namespace

MpiPlace MpiThread::start() {
  {
    const AsynchronousSignalsBlocked blocked;
    thread_ = std::thread([self = shared_from_this()] { self->run(); });
  }
  Lock lock(mutex_);
  if (!changed_.wait_for(lock, seconds(options_.timeout_seconds), [&] { return initialised_ || !failure_.empty(); })) {
    failure_ = "MPI_Init did not finish within " + in_seconds(options_.timeout_seconds);
  }
  if (!failure_.empty()) {
    thread_.detach();
    throw_failure();
  }
  return place_;
}

void MpiThread::stop(bool finalize) {
  Lock lock(mutex_);
  stop_ = true;
  finalize_ = finalize;
  bell_->ring();
  changed_.wait_for(lock, finalize ? seconds(options_.timeout_seconds) : Clock::duration(kPatience),
                    [&] { return left_; });
  if (!left_) {
    thread_.detach();  // MPI does not return; the process is about to end
    return;
  }
  lock.unlock();
  thread_.join();
}

std::shared_ptr<MpiOperation> MpiThread::post(MpiMessages messages) {
  auto operation = std::make_shared<MpiOperation>(std::move(messages));
  Lock lock(mutex_);
  if (!failure_.empty()) throw_failure();
  queue_.push_back(operation);
  lock.unlock();  // or who wakes up would wait for it
  bell_->ring();
  return operation;
}

void MpiThread::wait(MpiOperation& operation) {
  Lock lock(mutex_);
  const auto over = [&] { return operation.done || !failure_.empty(); };
  if (!changed_.wait_for(lock, seconds(options_.timeout_seconds), over)) {
    give_up(lock, operation, "did not finish within " + in_seconds(options_.timeout_seconds));
  }
  if (!operation.done) throw_failure();
}

void MpiThread::abandon(MpiOperation& operation) {
  Lock lock(mutex_);
  if (operation.done || !failure_.empty()) return;
  give_up(lock, operation, "was abandoned");
}

void MpiThread::give_up(Lock& lock, const MpiOperation& operation, const std::string& what) {
  reason_to_give_up_ = operation.messages.id().to_string() + ' ' + what;
  culprit_ = &operation;
  bell_->ring();
  if (!changed_.wait_for(lock, kPatience, [&] { return !failure_.empty(); })) {
    failure_ = reason_to_give_up_ + "; the MPI library does not return from a call";
  }
}

void MpiThread::throw_failure() const { throw_lost_peer(place_.rank, place_.size, failure_); }

void MpiThread::allow_cpus(std::vector<int> cpus) {
  Lock lock(mutex_);
  cpus_ = std::move(cpus);
  bell_->ring();
}

void MpiThread::abort(int exit_code) {
  Lock lock(mutex_);
  abort_code_ = exit_code;
  bell_->ring();
  changed_.wait_for(lock, kPatience, [] { return false; });  // MPI_Abort ends the process first
  _exit(exit_code);
}

void MpiThread::run() {
  prctl(PR_SET_NAME, "tsugi-mpi");
  prctl(PR_SET_TIMERSLACK, 1000);  // ns; the default of 50 µs would more than double short pauses
  try {
    initialise();
    serve();
    if (finalize_) finalise();  // stop() was called: nobody writes it any more
  } catch (const MpiFailure& error) {
    Lock lock(mutex_);
    failure_ = error.what();
  }
  Lock lock(mutex_);
  left_ = true;
  changed_.notify_all();
}

void MpiThread::initialise() {
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_SERIALIZED) throw MpiFailure("MPI_Init_thread: no MPI_THREAD_SERIALIZED");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &group_), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(group_, MPI_ERRORS_RETURN);
  MpiPlace place;
  check_mpi(MPI_Comm_rank(group_, &place.rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(group_, &place.size), "MPI_Comm_size");
  // The launchers' variables for the local rank are missing or wrong below srun and nested launchers.
  MPI_Comm host = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(group_, MPI_COMM_TYPE_SHARED, place.rank, MPI_INFO_NULL, &host), "MPI_Comm_split_type");
  if (options_.emulated_hosts > 0) {
    MPI_Comm real = host;
    check_mpi(MPI_Comm_split(real, place.rank % options_.emulated_hosts, place.rank, &host), "MPI_Comm_split");
    check_mpi(MPI_Comm_free(&real), "MPI_Comm_free");
  }
  check_mpi(MPI_Comm_rank(host, &place.local_rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(host, &place.local_size), "MPI_Comm_size");
  place.host_leader = place.rank;
  check_mpi(MPI_Bcast(&place.host_leader, 1, MPI_INT, 0, host), "MPI_Bcast");
  take_seats(host, place);
  check_mpi(MPI_Comm_free(&host), "MPI_Comm_free");

  Lock lock(mutex_);
  place_ = place;
  initialised_ = true;
  changed_.notify_all();
}

void MpiThread::take_seats(MPI_Comm host, MpiPlace& place) {
  place.seats.assign(static_cast<size_t>(place.size), nullptr);
  place.local_ranks.assign(static_cast<size_t>(place.size), -1);
  if (place.local_size == 1) return;
  void* memory = nullptr;
  check_mpi(MPI_Win_allocate_shared(static_cast<MPI_Aint>(HostSeat::bytes(place.local_size)), 1, MPI_INFO_NULL, host,
                                    static_cast<void*>(&memory), &shared_),
            "MPI_Win_allocate_shared");
  auto* const mine = new (HostSeat::place_in(memory)) HostSeat;
  std::uninitialized_default_construct_n(mine->mailboxes(), place.local_size);
  proof_ = std::random_device()();
  mine->process = getpid();
  mine->proof = proof_;
  mine->proof_at = &proof_;
  prctl(PR_SET_PTRACER, getppid());  // where Yama restricts it, the other processes of the launcher may read ours
  std::vector<int> ranks(static_cast<size_t>(place.local_size));  // a barrier as well: all have taken theirs
  check_mpi(MPI_Allgather(&place.rank, 1, MPI_INT, ranks.data(), 1, MPI_INT, host), "MPI_Allgather");
  for (int local = 0; local < place.local_size; ++local) {
    const auto rank = static_cast<size_t>(ranks[static_cast<size_t>(local)]);
    MPI_Aint bytes = 0;
    int unit = 0;
    check_mpi(MPI_Win_shared_query(shared_, local, &bytes, &unit, static_cast<void*>(&memory)), "MPI_Win_shared_query");
    place.seats[rank] = static_cast<HostSeat*>(HostSeat::place_in(memory));
    place.local_ranks[rank] = local;
  }
  int readable = can_read_all(place.seats) ? 1 : 0;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &readable, 1, MPI_INT, MPI_MIN, host), "MPI_Allreduce");
  place.readable = readable == 1;
  const Lock lock(mutex_);
  bell_ = &mine->thread_bell;
}

void MpiThread::serve() {
  std::vector<std::shared_ptr<MpiOperation>> fresh;  // keeps its memory: this runs thousands of times a second
  Lock lock(mutex_);
  while (true) {
    const uint32_t rings = bell_->rings();  // whoever changes what follows rings afterwards
    if (abort_code_) {
      const int code = *abort_code_;
      lock.unlock();
      MPI_Abort(MPI_COMM_WORLD, code);
      _exit(code);
    }
    if (cpus_) {
      tsugi::allow_cpus(*cpus_);
      cpus_.reset();
    }
    if (!reason_to_give_up_.empty() && failure_.empty()) {
      failure_ = reason_to_give_up_;
      for (const auto& operation : active_) {
        if (operation.get() == culprit_) failure_ += ": it waits for " + operation->messages.missing();
      }
    }
    if (!failure_.empty()) {  // from here on MPI is called only to abort
      active_.clear();
      queue_.clear();
      changed_.notify_all();
    }
    if (active_.empty() && queue_.empty()) {
      if (stop_) return;
      lock.unlock();
      bell_->sleep(rings);
      lock.lock();
      continue;
    }

    fresh.swap(queue_);
    lock.unlock();
    std::string problem;
    try {
      for (const auto& operation : fresh) start(operation);
      work(rings);
    } catch (const MpiFailure& error) {
      problem = error.what();
    }
    fresh.clear();
    lock.lock();
    if (!problem.empty()) {
      reason_to_give_up_ = problem;
      continue;
    }
    const auto first_done = std::stable_partition(
        active_.begin(), active_.end(), [](const auto& operation) { return !operation->messages.complete(); });
    for (auto operation = first_done; operation != active_.end(); ++operation) (*operation)->done = true;
    if (first_done == active_.end()) continue;
    active_.erase(first_done, active_.end());
    lock.unlock();  // or who wakes up would wait for it
    changed_.notify_all();
    lock.lock();
  }
}

void MpiThread::knock(const MpiOperation& operation) {
  for (const int peer : operation.peers) {
    if (HostSeat* seat = place_.seats[static_cast<size_t>(peer)]) seat->thread_bell.knock();
  }
}

void MpiThread::start(const std::shared_ptr<MpiOperation>& operation) {
  active_.push_back(operation);
  operation->peers = operation->messages.peers();
  operation->on_host = std::all_of(operation->peers.begin(), operation->peers.end(),
                                   [&](int peer) { return place_.seats[static_cast<size_t>(peer)] != nullptr; });
  operation->messages.start(group_, options_.largest_message, [&] { knock(*operation); });
  last_progress_ = Clock::now();
  paused_ = false;
}

bool MpiThread::test() {
  bool progress = false;
  for (const auto& operation : active_) {
    MpiMessages& messages = operation->messages;
    const bool received = messages.received();
    progress |= messages.progress();
    if (!received && messages.received() && messages.receives_long()) knock(*operation);
  }
  return progress;
}

void MpiThread::work(uint32_t rings) {
  const bool on_host = std::all_of(active_.begin(), active_.end(), [](const auto& o) { return o->on_host; });
  const bool flowing = std::any_of(active_.begin(), active_.end(), [](const auto& o) { return o->messages.flowing(); });
  while (!test()) {
    if (bell_->rings() != rings) return;
    const bool listen = on_host && unannounced_ < kDeaf;
    const auto idle = std::chrono::duration_cast<microseconds>(Clock::now() - last_progress_);
    if (idle <= (listen ? kSpinForBell : flowing ? kSpinInFlow : kSpin)) continue;
    paused_ = true;
    rings_before_ = rings;
    if (bell_->sleep(rings, listen ? std::clamp(idle, kShortestPauseForBell, kLongestPauseForBell)
                                   : std::clamp(idle / 8, kShortestPause, kLongestPause))) {
      return;
    }
  }
  if (paused_) unannounced_ = bell_->rings() != rings_before_ ? 0 : unannounced_ + 1;
  last_progress_ = Clock::now();
  paused_ = false;
}

void MpiThread::finalise() {
  {
    Lock lock(mutex_);
    if (!failure_.empty()) return;  // it would wait for the lost peer
  }
  if (shared_ != MPI_WIN_NULL) check_mpi(MPI_Win_free(&shared_), "MPI_Win_free");
  check_mpi(MPI_Comm_free(&group_), "MPI_Comm_free");
  check_mpi(MPI_Finalize(), "MPI_Finalize");
}

}  // namespace tsugi
