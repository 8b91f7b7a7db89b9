#include "dist/world.h"

#include <glog/logging.h>
#include <unistd.h>

#include <cstdlib>

#include "dist/affinity.h"
#include "dist/launcher.h"
#include "dist/mpi_communicator.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  return name;
}

}  // namespace

struct World::Impl {
  std::string host = host_name();
  std::unique_ptr<Communicator> communicator;
  MpiCommunicator* mpi = nullptr;  ///< the communicator, when it is one
  CpuShare share;
  int threads = 1;

  void join_mpi(const WorldOptions& options, const Launch& launch) {
    if (launch.undo_binding) allow_cpus_of_launcher();
    const std::vector<int> allowed = allowed_cpus();
    auto joined = std::make_unique<MpiCommunicator>(MpiOptions{.timeout_seconds = options.timeout_seconds,
                                                               .largest_message = options.largest_message,
                                                               .host_memory = options.host_memory,
                                                               .emulated_hosts = options.emulated_hosts});
    allow_cpus(allowed);  // MPI_Init may bind a process that its own launcher did not start
    if (launch.expected_ranks > 0 && launch.expected_ranks != joined->size()) {
      throw Error(ExitCode::kUsage,
                  "the launcher started " + std::to_string(launch.expected_ranks) + " ranks, but MPI knows " +
                      std::to_string(joined->size()),
                  "the launcher must belong to the MPI library that tsugi is linked with: `srun --mpi=pmix`, or its "
                  "own mpirun");
    }
    mpi = joined.get();
    communicator = std::move(joined);
    divide_cpus(allowed);
  }

  void divide_cpus(const std::vector<int>& allowed) {
    const std::string mine = std::to_string(mpi->host_leader()) + ' ' + describe_cpus(allowed);
    std::vector<std::vector<int>> on_host;
    for (const std::string& other : communicator->all_gather_strings(mine)) {
      const size_t space = other.find(' ');
      if (std::stoi(other) == mpi->host_leader()) on_host.push_back(parse_cpus(other.substr(space + 1)));
    }
    CHECK_EQ(static_cast<int>(on_host.size()), mpi->local_size());
    share = share_of_cpus(on_host, mpi->local_rank());
    if (share.cpus.empty()) return;
    allow_cpus(share.cpus);
    mpi->allow_cpus(share.cpus);
  }
};

World::World(const WorldOptions& options) : impl_(std::make_unique<Impl>()) {
  const Launch launch = detect_launch([](const char* name) -> const char* { return std::getenv(name); });
  if (launch.with_mpi) {
    impl_->join_mpi(options, launch);
  } else {
    // Several such processes may share the host without knowing of each other (a sweep): none of them is pinned.
    impl_->communicator = make_local_communicator();
    impl_->share.threads = static_cast<int>(allowed_cpus().size());
  }
  impl_->threads = options.threads > 0 ? options.threads : impl_->share.threads;
  if (impl_->threads > impl_->share.threads) {
    LOG(WARNING) << describe() << ": more threads than the " << impl_->share.threads
                 << " CPUs of this rank; they take turns";
  }
}

World::~World() = default;

int World::rank() const { return impl_->communicator->rank(); }
int World::size() const { return impl_->communicator->size(); }
int World::local_rank() const { return impl_->mpi == nullptr ? 0 : impl_->mpi->local_rank(); }
int World::local_size() const { return impl_->mpi == nullptr ? 1 : impl_->mpi->local_size(); }
const std::string& World::host() const { return impl_->host; }
bool World::host_memory() const { return impl_->mpi != nullptr && impl_->mpi->host_memory(); }
int World::threads() const { return impl_->threads; }
const std::vector<int>& World::cpus() const { return impl_->share.cpus; }

std::string World::describe() const {
  const auto of = [](int index, int count) { return std::to_string(index) + " of " + std::to_string(count); };
  const std::vector<int>& pinned = cpus();
  return "rank " + of(rank(), size()) + " on " + host() + " (local " + of(local_rank(), local_size()) + "), " +
         std::to_string(threads()) + (threads() == 1 ? " thread" : " threads") +
         (pinned.empty() ? ", not pinned" : (pinned.size() == 1 ? " on CPU " : " on CPUs ") + describe_cpus(pinned)) +
         (local_size() == 1 ? ""
          : host_memory()   ? ", the host's ranks by memory"
                            : ", the host's ranks over MPI");
}

Communicator& World::communicator() { return *impl_->communicator; }

void World::abort(int exit_code) {
  google::FlushLogFiles(google::INFO);
  if (impl_->mpi != nullptr) impl_->mpi->abort(exit_code);
  _exit(exit_code);
}

}  // namespace tsugi
