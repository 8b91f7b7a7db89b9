#include "dist/mpi_thread.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "dist/affinity.h"
#include "ops/base/blocked_signals.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

// A test follows the last one at once while messages flow: for as long as two ranks that compute in step are apart, or
// longer once some part of a collective has come through. Then pauses grow with the time that nothing has happened, so
// that they prolong no wait by more than an eighth; the longest bounds the processor time of long waits (a pause costs
// 15-30 µs of it in a virtual machine).
constexpr microseconds kSpin{20};
constexpr microseconds kSpinInFlow{300};
constexpr microseconds kShortestPause{10};
constexpr microseconds kLongestPause{1000};

// How long a thread that makes an MPI call may take to come back from it.
constexpr std::chrono::seconds kPatience{3};

Clock::duration seconds(double value) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(std::min(value, 1e9)));
}

std::string in_seconds(double value) {
  std::string text = std::to_string(value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text + " s";
}

}  // namespace

MpiPlace MpiThread::start() {
  {
    const AsynchronousSignalsBlocked blocked;
    thread_ = std::thread([self = shared_from_this()] { self->run(); });
  }
  Lock lock(mutex_);
  if (!changed_.wait_for(lock, seconds(timeout_seconds_), [&] { return initialised_ || !failure_.empty(); })) {
    failure_ = "MPI_Init did not finish within " + in_seconds(timeout_seconds_);
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
  wake_.notify_one();
  changed_.wait_for(lock, finalize ? seconds(timeout_seconds_) : Clock::duration(kPatience), [&] { return left_; });
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
  wake_.notify_one();
  return operation;
}

void MpiThread::wait(MpiOperation& operation) {
  Lock lock(mutex_);
  const auto over = [&] { return operation.done || !failure_.empty(); };
  if (!changed_.wait_for(lock, seconds(timeout_seconds_), over)) {
    give_up(lock, operation, "did not finish within " + in_seconds(timeout_seconds_));
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
  wake_.notify_one();
  if (!changed_.wait_for(lock, kPatience, [&] { return !failure_.empty(); })) {
    failure_ = reason_to_give_up_ + "; the MPI library does not return from a call";
  }
}

void MpiThread::throw_failure() const {
  throw Error(ExitCode::kPeerLost,
              "rank " + std::to_string(place_.rank) + " of " + std::to_string(place_.size) + ": " + failure_,
              "a peer hangs or is lost: see its log. If ranks are only slow, raise the timeout of collectives");
}

void MpiThread::allow_cpus(std::vector<int> cpus) {
  Lock lock(mutex_);
  cpus_ = std::move(cpus);
  wake_.notify_one();
}

void MpiThread::abort(int exit_code) {
  Lock lock(mutex_);
  abort_code_ = exit_code;
  wake_.notify_one();
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
  check_mpi(MPI_Comm_rank(host, &place.local_rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(host, &place.local_size), "MPI_Comm_size");
  place.host_leader = place.rank;
  check_mpi(MPI_Bcast(&place.host_leader, 1, MPI_INT, 0, host), "MPI_Bcast");
  check_mpi(MPI_Comm_free(&host), "MPI_Comm_free");

  Lock lock(mutex_);
  place_ = place;
  initialised_ = true;
  changed_.notify_all();
}

void MpiThread::serve() {
  std::vector<std::shared_ptr<MpiOperation>> active;
  std::vector<std::shared_ptr<MpiOperation>> fresh;  // both keep their memory: this runs thousands of times a second
  Clock::time_point last_progress = Clock::now();
  Lock lock(mutex_);
  while (true) {
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
      for (const auto& operation : active) {
        if (operation.get() == culprit_) failure_ += ": it waits for " + operation->messages.missing();
      }
    }
    if (!failure_.empty()) {  // from here on MPI is called only to abort
      active.clear();
      queue_.clear();
      changed_.notify_all();
    }
    if (active.empty() && queue_.empty()) {
      if (stop_) return;
      wake_.wait(lock);
      last_progress = Clock::now();
      continue;
    }

    fresh.swap(queue_);
    lock.unlock();
    std::string problem;
    bool progress = false;
    try {
      progress = work(active, fresh);
    } catch (const MpiFailure& error) {
      problem = error.what();
    }
    lock.lock();
    fresh.clear();
    if (!problem.empty()) {
      reason_to_give_up_ = problem;
      continue;
    }
    const auto first_done = std::stable_partition(
        active.begin(), active.end(), [](const auto& operation) { return !operation->messages.complete(); });
    for (auto operation = first_done; operation != active.end(); ++operation) (*operation)->done = true;
    if (first_done != active.end()) changed_.notify_all();
    active.erase(first_done, active.end());

    const Clock::time_point now = Clock::now();
    if (progress) last_progress = now;
    const auto idle = std::chrono::duration_cast<microseconds>(now - last_progress);
    const bool flowing = std::any_of(active.begin(), active.end(), [](const auto& o) { return o->messages.flowing(); });
    if (idle > (flowing ? kSpinInFlow : kSpin) && queue_.empty() && !active.empty()) {
      wake_.wait_for(lock, std::clamp(idle / 8, kShortestPause, kLongestPause));
    }
  }
}

bool MpiThread::work(std::vector<std::shared_ptr<MpiOperation>>& active,
                     const std::vector<std::shared_ptr<MpiOperation>>& fresh) {
  for (const auto& operation : fresh) {
    active.push_back(operation);
    operation->messages.start(group_, largest_message_);
  }
  bool progress = !fresh.empty();
  for (const auto& operation : active) progress |= operation->messages.progress();
  return progress;
}

void MpiThread::finalise() {
  {
    Lock lock(mutex_);
    if (!failure_.empty()) return;  // it would wait for the lost peer
  }
  check_mpi(MPI_Comm_free(&group_), "MPI_Comm_free");
  check_mpi(MPI_Finalize(), "MPI_Finalize");
}

}  // namespace tsugi
