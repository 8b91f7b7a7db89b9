#include "dist/mpi_messages.h"

#include <algorithm>
#include <set>

#include "dist/lost_peer.h"

namespace tsugi {
namespace {

// MPI promises at least this many tags.
constexpr uint64_t kTags = 32768;

// Messages up to this many bytes leave their sender at once, whether they are taken or not: Open MPI's limit in memory.
constexpr size_t kSentAtOnce = 4096;

}  // namespace

void check_mpi(int result, const std::string& call) {
  if (result == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(result, text, &length);
  throw MpiFailure(call + ": " + std::string(text, static_cast<size_t>(length)));
}

void MpiMessages::start(MPI_Comm communicator, size_t largest_message, const std::function<void()>& sent) {
  // Ranks that disagree about what comes next time out instead of reading each other's data.
  const int tag = static_cast<int>(id_.sequence % kTags);
  const auto post = [&](const Transfer& transfer, bool receive) {
    for (size_t offset = 0; offset < transfer.bytes; offset += largest_message) {
      const int bytes = static_cast<int>(std::min(largest_message, transfer.bytes - offset));
      char* data = static_cast<char*>(transfer.data) + offset;
      requests_.push_back(MPI_REQUEST_NULL);
      messages_.push_back({transfer.peer, bytes, receive});
      if (receive) {
        check_mpi(MPI_Irecv(data, bytes, MPI_BYTE, transfer.peer, tag, communicator, &requests_.back()), "MPI_Irecv");
      } else {
        check_mpi(MPI_Isend(data, bytes, MPI_BYTE, transfer.peer, tag, communicator, &requests_.back()), "MPI_Isend");
      }
    }
  };
  for (const Transfer& send : sends_) post(send, false);
  sent();
  const size_t sends = requests_.size();
  for (const Transfer& receive : receives_) {
    post(receive, true);
    receives_long_ |= receive.bytes > kSentAtOnce;
  }
  open_ = requests_.size();
  open_receives_ = open_ - sends;
  indices_.resize(open_);
  statuses_.resize(open_);
}

bool MpiMessages::progress() {
  int completed = 0;
  const int result =
      MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &completed, indices_.data(), statuses_.data());
  const bool failed = result != MPI_SUCCESS;  // texts are made for errors alone: this runs thousands of times a second
  if (failed && result != MPI_ERR_IN_STATUS) check_mpi(result, id_.to_string() + ": MPI_Testsome");
  if (completed == MPI_UNDEFINED) completed = 0;
  for (int i = 0; i < completed; ++i) {
    const Message& message = messages_[indices_[i]];
    const auto peer = [&message] { return "rank " + std::to_string(message.peer); };
    if (failed) {
      check_mpi(statuses_[i].MPI_ERROR,
                id_.to_string() + (message.receive ? ": receive from " : ": send to ") + peer());
    }
    if (!message.receive) continue;
    int bytes = 0;
    const int counted = MPI_Get_count(&statuses_[i], MPI_BYTE, &bytes);
    if (counted != MPI_SUCCESS) check_mpi(counted, "MPI_Get_count");
    if (bytes != message.bytes) {
      throw MpiFailure(id_.to_string() + ": " + peer() + " sent " + std::to_string(bytes) + " bytes instead of " +
                       std::to_string(message.bytes));
    }
    --open_receives_;
  }
  open_ -= static_cast<size_t>(completed);
  return completed > 0;
}

std::vector<int> MpiMessages::peers() const {
  std::set<int> peers;
  for (const std::vector<Transfer>* transfers : {&sends_, &receives_}) {
    for (const Transfer& transfer : *transfers) peers.insert(transfer.peer);
  }
  return {peers.begin(), peers.end()};
}

std::string MpiMessages::missing() const {
  std::set<int> from;
  std::set<int> to;
  for (size_t i = 0; i < requests_.size(); ++i) {
    if (requests_[i] != MPI_REQUEST_NULL) (messages_[i].receive ? from : to).insert(messages_[i].peer);
  }
  return missing_ranks(from, to);
}

}  // namespace tsugi
