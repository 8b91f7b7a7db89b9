#include "dist/staged_communicator.h"

#include <map>
#include <utility>

namespace tsugi {
namespace {

using Block = std::shared_ptr<Storage>;

/// Pinned blocks that are free, by size.
class Pool {
 public:
  explicit Pool(DeviceOperators& device) : device_(device) {}

  Block take(size_t bytes) {
    std::vector<Block>& free = free_[bytes];
    if (free.empty()) return device_.allocate_host(bytes);
    Block block = std::move(free.back());
    free.pop_back();
    return block;
  }
  void give_back(Block block) { free_[block->bytes].push_back(std::move(block)); }

 private:
  DeviceOperators& device_;
  std::map<size_t, std::vector<Block>> free_;
};

/// Bytes that go back to the device when they have come.
struct Arrival {
  void* device = nullptr;
  const std::byte* host = nullptr;
  size_t bytes = 0;
};

class StagedPending : public Pending {
 public:
  StagedPending(DeviceOperators& device, Pool& pool, std::vector<Block> blocks, std::vector<Arrival> arrivals,
                std::unique_ptr<Pending> below)
      : device_(device),
        pool_(pool),
        blocks_(std::move(blocks)),
        arrivals_(std::move(arrivals)),
        below_(std::move(below)) {}

  void wait() override {
    below_->wait();
    for (const Arrival& arrival : arrivals_) device_.copy_to_device(arrival.device, arrival.host, arrival.bytes);
    arrivals_.clear();
    for (Block& block : blocks_) pool_.give_back(std::move(block));
    blocks_.clear();
  }

 private:
  DeviceOperators& device_;
  Pool& pool_;
  std::vector<Block> blocks_;  ///< given back by wait() only: after a failure `below` may still write to them
  std::vector<Arrival> arrivals_;
  std::unique_ptr<Pending> below_;  ///< last: gone before its memory
};

class StagedCommunicator : public Communicator {
 public:
  StagedCommunicator(Communicator& below, DeviceOperators& device) : below_(below), device_(device), pool_(device) {}

  int rank() const override { return below_.rank(); }
  int size() const override { return below_.size(); }

  std::unique_ptr<Pending> exchange(std::vector<Transfer> sends, std::vector<Transfer> receives) override {
    std::vector<Block> blocks;
    std::vector<Arrival> arrivals;
    for (Transfer& send : sends) {
      blocks.push_back(pool_.take(send.bytes));
      if (send.bytes > 0) device_.copy_to_host(blocks.back()->data, send.data, send.bytes);
      send.data = blocks.back()->data;
    }
    for (Transfer& receive : receives) {
      blocks.push_back(pool_.take(receive.bytes));
      arrivals.push_back({receive.data, blocks.back()->data, receive.bytes});
      receive.data = blocks.back()->data;
    }
    std::unique_ptr<Pending> pending = below_.exchange(std::move(sends), std::move(receives));
    return std::make_unique<StagedPending>(device_, pool_, std::move(blocks), std::move(arrivals), std::move(pending));
  }

  std::unique_ptr<Pending> all_gather(void* buffer, std::vector<size_t> offsets) override {
    auto* const device = static_cast<std::byte*>(buffer);
    const auto mine = static_cast<size_t>(rank());
    Block block = pool_.take(offsets.back());
    std::byte* const host = block->data;
    std::vector<Arrival> arrivals;
    for (size_t r = 0; r + 1 < offsets.size(); ++r) {
      const size_t bytes = offsets[r + 1] - offsets[r];
      if (bytes == 0) continue;
      if (r == mine) {
        device_.copy_to_host(host + offsets[r], device + offsets[r], bytes);
      } else {
        arrivals.push_back({device + offsets[r], host + offsets[r], bytes});
      }
    }
    std::unique_ptr<Pending> pending = below_.all_gather(host, std::move(offsets));
    std::vector<Block> blocks;
    blocks.push_back(std::move(block));
    return std::make_unique<StagedPending>(device_, pool_, std::move(blocks), std::move(arrivals), std::move(pending));
  }

  std::vector<std::string> all_gather_strings(std::string_view mine) override {
    return below_.all_gather_strings(mine);
  }
  std::string broadcast(std::string_view mine, int root) override { return below_.broadcast(mine, root); }
  void barrier() override { below_.barrier(); }

 private:
  Communicator& below_;
  DeviceOperators& device_;
  Pool pool_;
};

}  // namespace

std::unique_ptr<Communicator> make_staged_communicator(Communicator& below, DeviceOperators& device) {
  return std::make_unique<StagedCommunicator>(below, device);
}

}  // namespace tsugi
