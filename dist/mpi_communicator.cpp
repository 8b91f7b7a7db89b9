#include "dist/mpi_communicator.h"

#include <glog/logging.h>

#include <algorithm>
#include <exception>
#include <limits>

#include "dist/host_messages.h"
#include "dist/mpi_thread.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct MpiPending : Pending {
  MpiPending(std::shared_ptr<MpiThread> t, std::shared_ptr<MpiOperation> o)
      : thread(std::move(t)), operation(std::move(o)) {}
  ~MpiPending() override { thread->abandon(*operation); }
  void wait() override { thread->wait(*operation); }

  std::shared_ptr<MpiThread> thread;
  std::shared_ptr<MpiOperation> operation;
};

/// What goes between ranks of this host, and what goes over MPI, if anything does.
struct HostPending : Pending {
  HostPending(std::shared_ptr<HostMessages> h, std::shared_ptr<HostOperation> o)
      : host(std::move(h)), operation(std::move(o)) {}
  ~HostPending() override { host->abandon(*operation); }
  void wait() override {
    host->wait(*operation);
    if (rest == nullptr) return;
    try {
      rest->wait();
    } catch (const Error& error) {
      host->fail(error.what());
      throw;
    }
  }

  std::shared_ptr<HostMessages> host;
  std::shared_ptr<HostOperation> operation;
  std::unique_ptr<Pending> rest;
};

/// Takes out those with ranks of this host.
std::vector<Transfer> take_host(const HostMessages& host, std::vector<Transfer>& transfers) {
  const auto first = std::stable_partition(transfers.begin(), transfers.end(),
                                           [&](const Transfer& transfer) { return !host.reaches(transfer.peer); });
  std::vector<Transfer> result(first, transfers.end());
  transfers.erase(first, transfers.end());
  return result;
}

}  // namespace

MpiCommunicator::MpiCommunicator(const MpiOptions& options)
    : thread_(std::make_shared<MpiThread>(options)), exceptions_(std::uncaught_exceptions()) {
  CHECK(options.largest_message >= 1 && options.largest_message <= std::numeric_limits<int>::max());
  const MpiPlace place = thread_->start();
  rank_ = place.rank;
  size_ = place.size;
  local_rank_ = place.local_rank;
  local_size_ = place.local_size;
  host_leader_ = place.host_leader;
  if (place.readable && options.host_memory) {
    host_ = std::make_shared<HostMessages>(place.rank, place.seats, place.local_ranks, options.timeout_seconds);
  }
}

MpiCommunicator::~MpiCommunicator() {
  const bool well = host_ == nullptr || !host_->failed();
  if (host_ != nullptr) host_->fail("the ranks have parted");  // the seats go with the thread
  thread_->stop(well && std::uncaught_exceptions() == exceptions_);
}

void MpiCommunicator::allow_cpus(const std::vector<int>& cpus) { thread_->allow_cpus(cpus); }

void MpiCommunicator::abort(int exit_code) { thread_->abort(exit_code); }

std::unique_ptr<Pending> MpiCommunicator::post(CollectiveId id, std::vector<Transfer> sends,
                                               std::vector<Transfer> receives) {
  const auto over_mpi = [&] {
    return std::make_unique<MpiPending>(thread_, thread_->post(MpiMessages(id, std::move(sends), std::move(receives))));
  };
  if (host_ == nullptr) return over_mpi();
  const std::vector<Transfer> host_sends = take_host(*host_, sends);
  const std::vector<Transfer> host_receives = take_host(*host_, receives);
  auto pending = std::make_unique<HostPending>(host_, host_->post(id, host_sends, host_receives));
  if (!sends.empty() || !receives.empty()) pending->rest = over_mpi();
  return pending;
}

}  // namespace tsugi
