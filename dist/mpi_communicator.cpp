#include "dist/mpi_communicator.h"

#include <glog/logging.h>

#include <exception>
#include <limits>

#include "dist/mpi_thread.h"

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

}  // namespace

MpiCommunicator::MpiCommunicator(const MpiOptions& options)
    : thread_(std::make_shared<MpiThread>(options.timeout_seconds, options.largest_message)),
      exceptions_(std::uncaught_exceptions()) {
  CHECK(options.largest_message >= 1 && options.largest_message <= std::numeric_limits<int>::max());
  const MpiPlace place = thread_->start();
  rank_ = place.rank;
  size_ = place.size;
  local_rank_ = place.local_rank;
  local_size_ = place.local_size;
  host_leader_ = place.host_leader;
}

MpiCommunicator::~MpiCommunicator() { thread_->stop(std::uncaught_exceptions() == exceptions_); }

void MpiCommunicator::allow_cpus(const std::vector<int>& cpus) { thread_->allow_cpus(cpus); }

void MpiCommunicator::abort(int exit_code) { thread_->abort(exit_code); }

std::unique_ptr<Pending> MpiCommunicator::post(CollectiveId id, std::vector<Transfer> sends,
                                               std::vector<Transfer> receives) {
  return std::make_unique<MpiPending>(thread_, thread_->post(MpiMessages(id, std::move(sends), std::move(receives))));
}

}  // namespace tsugi
