// Every collective from one primitive: messages between two ranks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dist/communicator.h"

namespace tsugi {

/// Which collective a message belongs to, for error messages: all ranks count alike.
struct CollectiveId {
  const char* name = "";
  uint64_t sequence = 0;
  std::string to_string() const { return std::string(name) + " #" + std::to_string(sequence); }
};

/// Implements the collectives on top of post(). Every rank talks to every other one directly: a rank's part of an
/// all_gather leaves it size() - 1 times, as much traffic as a ring, and an error can name the peer that is missing.
class PointToPointCommunicator : public Communicator {
 public:
  std::unique_ptr<Pending> exchange(std::vector<Transfer> sends, std::vector<Transfer> receives) final;
  std::unique_ptr<Pending> all_gather(void* buffer, std::vector<size_t> offsets) final;
  std::vector<std::string> all_gather_strings(std::string_view mine) final;
  std::string broadcast(std::string_view mine, int root) final;
  void barrier() final;

 protected:
  /// Starts the messages. None of them is empty, or to or from this rank. Messages between a pair match in order.
  virtual std::unique_ptr<Pending> post(CollectiveId id, std::vector<Transfer> sends,
                                        std::vector<Transfer> receives) = 0;

 private:
  CollectiveId next(const char* name) { return {name, ++sequence_}; }
  std::unique_ptr<Pending> start(CollectiveId id, std::vector<Transfer> sends, std::vector<Transfer> receives);
  /// Blocks until `bytes` at buffer + offset of every rank are in `buffer` of every rank.
  void gather(CollectiveId id, char* buffer, const std::vector<size_t>& offsets);

  uint64_t sequence_ = 0;
};

}  // namespace tsugi
