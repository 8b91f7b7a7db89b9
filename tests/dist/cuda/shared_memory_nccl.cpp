#include "tests/dist/cuda/shared_memory_nccl.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "ops/cuda/signal.h"

namespace tsugi::testing {
namespace {

constexpr int kMostRanks = 4;
constexpr uint64_t kChannelBytes = 3001;  // no multiple of anything
constexpr int kSystemError = 2, kInvalidUsage = 5, kRemoteError = 6;

struct Channel {
  std::atomic<uint64_t> written, read;
  std::array<char, kChannelBytes> bytes;
};
struct Segment {
  std::atomic<int> arrived;
  std::array<std::array<Channel, kMostRanks>, kMostRanks> channels;  // from, to
};

struct Comm {
  Segment* segment = nullptr;
  std::string name;
  int rank = 0, ranks = 0, groups = 0;
  int error = kNcclSuccess;
  bool aborted = false;
};

struct Operation {
  char* data;
  size_t bytes;
  int peer;
  bool send;
  size_t moved = 0;

  bool done() const { return moved == bytes; }
  /// Moves what the channel takes or has.
  void progress(Comm& comm) {
    auto& channels = comm.segment->channels;
    Channel& channel =
        channels[static_cast<size_t>(send ? comm.rank : peer)][static_cast<size_t>(send ? peer : comm.rank)];
    const uint64_t written = channel.written.load(), read = channel.read.load();
    uint64_t count = std::min<uint64_t>(bytes - moved, send ? kChannelBytes - (written - read) : written - read);
    for (; count > 0; --count, ++moved) {
      if (send) {
        channel.bytes[channel.written.load() % kChannelBytes] = data[moved];
        ++channel.written;
      } else {
        data[moved] = channel.bytes[channel.read.load() % kChannelBytes];
        ++channel.read;
      }
    }
  }
};

struct Group {
  std::shared_ptr<Comm> comm;
  cuda::Stream* stream = nullptr;
  std::vector<Operation> operations;
  bool refused = false;  ///< one of them
  int number = 0;
  std::chrono::steady_clock::time_point start;

  /// True when all transfers are over, or the communicator was aborted.
  bool progress() {
    if (comm->aborted) return true;
    const NcclFaults& faults = nccl_faults();
    if (faults.error_in_group == number) {
      comm->error = kRemoteError;
      return false;
    }
    if (faults.stop_in_group > 0 && number >= faults.stop_in_group) return false;
    if (std::chrono::steady_clock::now() - start < std::chrono::duration<double>(faults.delay_seconds)) return false;
    bool all = true;
    for (const bool send : {true, false}) {
      for (int peer = 0; peer < comm->ranks; ++peer) {  // in order between every pair
        for (Operation& operation : operations) {
          if (operation.send != send || operation.peer != peer || operation.done()) continue;
          operation.progress(*comm);
          if (!operation.done()) break;
        }
      }
    }
    for (const Operation& operation : operations) all = all && operation.done();
    return all;
  }
};

NcclFaults faults_of_this_rank;
NcclEnd end_of_this_rank;
std::vector<std::shared_ptr<Comm>> comms;
std::shared_ptr<Group> open_group;

std::shared_ptr<Comm> find(void* comm) {
  for (const auto& one : comms) {
    if (one.get() == comm) return one;
  }
  return nullptr;
}

int get_version(int* version) {
  *version = faults_of_this_rank.version;
  return kNcclSuccess;
}

int get_unique_id(NcclId* id) {
  if (faults_of_this_rank.no_unique_id) return kSystemError;
  static int count = 0;
  const std::string name = "/tsugi_nccl_test." + std::to_string(getpid()) + "." + std::to_string(++count);
  const int file = shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
  if (file < 0 || ftruncate(file, sizeof(Segment)) != 0) return kSystemError;
  close(file);
  std::memset(id->internal, 0, sizeof(id->internal));
  name.copy(id->internal, sizeof(id->internal) - 1);
  return kNcclSuccess;
}

int comm_init(void** result, int ranks, NcclId id, int rank, NcclConfig* config) {
  if (config->size != 44 || config->magic != 0xcafebeef || config->blocking != 0 || ranks > kMostRanks)
    return kInvalidUsage;
  auto comm = std::make_shared<Comm>();
  comm->name = id.internal;
  comm->rank = rank;
  comm->ranks = ranks;
  const int file = shm_open(id.internal, O_RDWR, 0600);
  if (file < 0) return kSystemError;
  void* const memory = mmap(nullptr, sizeof(Segment), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return kSystemError;
  comm->segment = static_cast<Segment*>(memory);
  if (!faults_of_this_rank.never_joins) ++comm->segment->arrived;
  comms.push_back(comm);
  *result = comm.get();
  return kNcclInProgress;
}

int get_async_error(void* handle, int* error) {
  const auto comm = find(handle);
  if (comm == nullptr) return kInvalidUsage;
  *error = comm->error != kNcclSuccess                   ? comm->error
           : comm->segment->arrived.load() < comm->ranks ? kNcclInProgress
                                                         : kNcclSuccess;
  return kNcclSuccess;
}

int finalize(void*) {
  ++end_of_this_rank.finalized;
  return kNcclInProgress;
}
int leave(void* handle, int& count) {
  const auto comm = find(handle);
  if (comm == nullptr) return kInvalidUsage;
  comm->aborted = true;
  ++count;
  if (comm->rank == 0) shm_unlink(comm->name.c_str());
  std::erase(comms, comm);
  return kNcclSuccess;
}
int destroy(void* handle) { return leave(handle, end_of_this_rank.destroyed); }
int abort_comm(void* handle) {
  end_of_this_rank.in_group = end_of_this_rank.in_group || open_group != nullptr;
  return leave(handle, end_of_this_rank.aborted);
}

int group_start() {
  open_group = std::make_shared<Group>();
  return kNcclSuccess;
}
int add(Operation operation, void* handle, void* stream) {
  open_group->comm = find(handle);
  if (open_group->comm == nullptr) return kInvalidUsage;
  open_group->stream = static_cast<cuda::Stream*>(stream);
  if (operation.send && open_group->comm->groups + 1 == faults_of_this_rank.refuse_in_group) {
    open_group->refused = true;
    return kInvalidUsage;
  }
  open_group->operations.push_back(operation);
  return kNcclSuccess;
}
int send(const void* data, size_t count, int, int peer, void* comm, void* stream) {
  return add({static_cast<char*>(const_cast<void*>(data)), count, peer, true}, comm, stream);
}
int recv(void* data, size_t count, int, int peer, void* comm, void* stream) {
  return add({static_cast<char*>(data), count, peer, false}, comm, stream);
}
int group_end() {
  const auto group = std::move(open_group);
  if (group->refused) return kInvalidUsage;
  if (group->operations.empty()) return kNcclSuccess;
  group->number = ++group->comm->groups;
  group->start = std::chrono::steady_clock::now();
  cuda::enqueue_when(*group->stream, [group] { return group->progress(); });
  return kNcclInProgress;
}

const char* error_string(int result) {
  return result == kRemoteError   ? "remote process exited or there was a network error"
         : result == kSystemError ? "unhandled system error"
                                  : "invalid usage";
}
const char* last_error(void*) { return ""; }

}  // namespace

NcclFaults& nccl_faults() { return faults_of_this_rank; }
const NcclEnd& nccl_end() { return end_of_this_rank; }

const NcclTable& shared_memory_nccl() {
  static const NcclTable table{.get_version = get_version,
                               .get_unique_id = get_unique_id,
                               .comm_init_rank_config = comm_init,
                               .comm_get_async_error = get_async_error,
                               .comm_finalize = finalize,
                               .comm_destroy = destroy,
                               .comm_abort = abort_comm,
                               .send = send,
                               .recv = recv,
                               .group_start = group_start,
                               .group_end = group_end,
                               .get_error_string = error_string,
                               .get_last_error = last_error};
  return table;
}

}  // namespace tsugi::testing
