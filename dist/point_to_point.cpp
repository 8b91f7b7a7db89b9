#include "dist/point_to_point.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace tsugi {
namespace {

/// What a rank says first: short contents travel with their length, so that small agreements cost one message.
struct Envelope {
  uint64_t bytes = 0;
  std::array<char, 248> head{};

  static Envelope of(std::string_view contents) {
    Envelope envelope;
    envelope.bytes = contents.size();
    if (!envelope.is_long()) std::copy(contents.begin(), contents.end(), envelope.head.begin());
    return envelope;
  }
  bool is_long() const { return bytes > head.size(); }
  std::string short_contents() const { return std::string(head.data(), bytes); }
};

struct Finished : Pending {
  void wait() override {}
};

/// Takes the transfers of `rank` to itself out of the list.
std::vector<Transfer> take_own(int rank, std::vector<Transfer>& transfers) {
  const auto own = std::stable_partition(transfers.begin(), transfers.end(),
                                         [&](const Transfer& transfer) { return transfer.peer != rank; });
  std::vector<Transfer> result(own, transfers.end());
  transfers.erase(own, transfers.end());
  return result;
}

std::vector<Transfer> parts_from_peers(int rank, char* buffer, const std::vector<size_t>& offsets) {
  std::vector<Transfer> receives;
  for (int peer = 0; peer + 1 < static_cast<int>(offsets.size()); ++peer) {
    if (peer != rank) receives.push_back({peer, buffer + offsets[peer], offsets[peer + 1] - offsets[peer]});
  }
  return receives;
}

std::vector<Transfer> part_to_peers(int rank, char* buffer, const std::vector<size_t>& offsets) {
  std::vector<Transfer> sends;
  for (int peer = 0; peer + 1 < static_cast<int>(offsets.size()); ++peer) {
    if (peer != rank) sends.push_back({peer, buffer + offsets[rank], offsets[rank + 1] - offsets[rank]});
  }
  return sends;
}

}  // namespace

std::unique_ptr<Pending> PointToPointCommunicator::start(CollectiveId id, std::vector<Transfer> sends,
                                                         std::vector<Transfer> receives) {
  for (const std::vector<Transfer>* transfers : {&sends, &receives}) {
    for (const Transfer& transfer : *transfers) {
      CHECK(transfer.peer >= 0 && transfer.peer < size()) << id.to_string() << ": no rank " << transfer.peer;
    }
  }
  const std::vector<Transfer> from = take_own(rank(), sends);
  const std::vector<Transfer> to = take_own(rank(), receives);
  CHECK_EQ(from.size(), to.size()) << id.to_string() << ": transfers to oneself do not match";
  for (size_t i = 0; i < from.size(); ++i) {
    CHECK_EQ(from[i].bytes, to[i].bytes) << id.to_string() << ": transfers to oneself do not match";
    if (from[i].bytes > 0) std::memmove(to[i].data, from[i].data, from[i].bytes);
  }
  // Both sides know the sizes, so an empty message need not be sent.
  const auto empty = [](const Transfer& transfer) { return transfer.bytes == 0; };
  std::erase_if(sends, empty);
  std::erase_if(receives, empty);
  if (sends.empty() && receives.empty()) return std::make_unique<Finished>();
  return post(id, std::move(sends), std::move(receives));
}

std::unique_ptr<Pending> PointToPointCommunicator::exchange(std::vector<Transfer> sends,
                                                            std::vector<Transfer> receives) {
  return start(next("exchange"), std::move(sends), std::move(receives));
}

std::unique_ptr<Pending> PointToPointCommunicator::all_gather(void* buffer, std::vector<size_t> offsets) {
  CHECK_EQ(static_cast<int>(offsets.size()), size() + 1);
  CHECK(std::is_sorted(offsets.begin(), offsets.end()));
  char* bytes = static_cast<char*>(buffer);
  return start(next("all_gather"), part_to_peers(rank(), bytes, offsets), parts_from_peers(rank(), bytes, offsets));
}

void PointToPointCommunicator::gather(CollectiveId id, char* buffer, const std::vector<size_t>& offsets) {
  start(id, part_to_peers(rank(), buffer, offsets), parts_from_peers(rank(), buffer, offsets))->wait();
}

std::vector<std::string> PointToPointCommunicator::all_gather_strings(std::string_view mine) {
  const CollectiveId id = next("all_gather_strings");
  std::vector<Envelope> envelopes(static_cast<size_t>(size()));
  envelopes[static_cast<size_t>(rank())] = Envelope::of(mine);
  std::vector<size_t> offsets;
  for (int r = 0; r <= size(); ++r) offsets.push_back(static_cast<size_t>(r) * sizeof(Envelope));
  gather(id, reinterpret_cast<char*>(envelopes.data()), offsets);

  offsets.assign(1, 0);
  for (const Envelope& envelope : envelopes)
    offsets.push_back(offsets.back() + (envelope.is_long() ? envelope.bytes : 0));
  std::string contents(offsets.back(), '\0');
  if (!contents.empty()) {  // some rank had more to say than fits: all know it
    if (envelopes[rank()].is_long())
      std::copy(mine.begin(), mine.end(), contents.begin() + static_cast<ptrdiff_t>(offsets[rank()]));
    gather(id, contents.data(), offsets);
  }
  std::vector<std::string> result;
  for (size_t r = 0; r < envelopes.size(); ++r) {
    result.push_back(envelopes[r].is_long() ? contents.substr(offsets[r], envelopes[r].bytes)
                                            : envelopes[r].short_contents());
  }
  return result;
}

std::string PointToPointCommunicator::broadcast(std::string_view mine, int root) {
  CHECK(root >= 0 && root < size());
  const CollectiveId id = next("broadcast");
  // All parts but the root's are empty: a gather in which one rank speaks.
  const auto root_speaks = [&](size_t bytes) {
    std::vector<size_t> offsets(static_cast<size_t>(size() + 1), 0);
    std::fill(offsets.begin() + root + 1, offsets.end(), bytes);
    return offsets;
  };
  Envelope envelope = rank() == root ? Envelope::of(mine) : Envelope{};
  gather(id, reinterpret_cast<char*>(&envelope), root_speaks(sizeof(Envelope)));
  if (!envelope.is_long()) return envelope.short_contents();
  std::string contents = rank() == root ? std::string(mine) : std::string(envelope.bytes, '\0');
  gather(id, contents.data(), root_speaks(contents.size()));
  return contents;
}

void PointToPointCommunicator::barrier() {
  const CollectiveId id = next("barrier");
  std::string present(static_cast<size_t>(size()), '\0');
  std::vector<size_t> offsets;
  for (int r = 0; r <= size(); ++r) offsets.push_back(static_cast<size_t>(r));
  gather(id, present.data(), offsets);
}

}  // namespace tsugi
