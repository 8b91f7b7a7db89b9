#include "ops/tensor/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <limits>
#include <map>
#include <numeric>

#include "ops/base/error.h"
#include "ops/base/recycled.h"
#include "ops/tensor/device_operators.h"

namespace tsugi {
namespace {

/// Large blocks ask for huge pages, of which the processor's tables of addresses hold hundreds of times as much memory.
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kLarge = 4 * kHugePage;

struct HeapStorage : Storage {
  explicit HeapStorage(size_t size) {
    bytes = size;
    const size_t rounded = std::max(aligned(size), kAlignment);
    void* block = nullptr;  // aligned_alloc would want whole huge pages
    if (::posix_memalign(&block, rounded < kLarge ? kAlignment : kHugePage, rounded) != 0) {
      throw Error(ExitCode::kInputOutput, "out of memory: could not allocate " + std::to_string(rounded) + " bytes",
                  "see what `tsugi plan` says, then lower batch.micro_batch or model sizes");
    }
    data = static_cast<std::byte*>(block);
    if (rounded >= kLarge) ::madvise(data, rounded, MADV_HUGEPAGE);  // a wish: what it says does not matter
  }
  ~HeapStorage() override { std::free(data); }
};

}  // namespace

std::shared_ptr<Storage> HeapMemory::allocate(size_t bytes) { return make_recycled<HeapStorage>(bytes); }

struct PlanningMemory::Log {
  std::vector<Lifetime> lifetimes;
  int64_t clock = 0;

  struct Block : Storage {
    std::shared_ptr<Log> log;
    size_t index = 0;
    ~Block() override { log->lifetimes[index].end = log->clock++; }
  };
};

PlanningMemory::PlanningMemory() : log_(std::make_shared<Log>()) {}

std::shared_ptr<Storage> PlanningMemory::allocate(size_t bytes) {
  auto block = std::make_shared<Log::Block>();
  block->bytes = bytes;
  block->log = log_;
  block->index = log_->lifetimes.size();
  log_->lifetimes.push_back({bytes, log_->clock++, -1});
  return block;
}

std::vector<Lifetime> PlanningMemory::lifetimes() const {
  std::vector<Lifetime> result = log_->lifetimes;
  for (Lifetime& lifetime : result) {
    if (lifetime.end < 0) lifetime.end = log_->clock;
  }
  return result;
}

namespace {

/// The blocks that have a place, found by when they live: a tree over the lifetimes in the order of their beginnings,
/// each node with the latest end below it.
class PlacedBlocks {
 public:
  explicit PlacedBlocks(const std::vector<Lifetime>& lifetimes)
      : lifetimes_(lifetimes), by_begin_(lifetimes.size()), leaf_of_(lifetimes.size()) {
    std::iota(by_begin_.begin(), by_begin_.end(), size_t{0});
    std::ranges::stable_sort(by_begin_, {}, [&](size_t index) { return lifetimes[index].begin; });
    for (size_t i = 0; i < by_begin_.size(); ++i) leaf_of_[by_begin_[i]] = i;
    leaves_ = std::bit_ceil(std::max<size_t>(lifetimes.size(), 1));
    latest_end_.assign(2 * leaves_, kNone);
  }

  void add(size_t index) {
    for (size_t node = leaves_ + leaf_of_[index]; node > 0; node /= 2) {
      latest_end_[node] = std::max(latest_end_[node], lifetimes_[index].end);
    }
  }

  /// Those that live at some time of [begin, end], both included, in the order of their beginnings.
  void find(const Lifetime& time, std::vector<size_t>& found) const {
    found.clear();
    find(1, 0, leaves_, time, found);
  }

 private:
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::min();

  void find(size_t node, size_t first, size_t count, const Lifetime& time, std::vector<size_t>& found) const {
    if (first >= by_begin_.size() || latest_end_[node] < time.begin) return;
    if (lifetimes_[by_begin_[first]].begin > time.end) return;
    if (count == 1) {
      found.push_back(by_begin_[first]);
      return;
    }
    find(2 * node, first, count / 2, time, found);
    find(2 * node + 1, first + count / 2, count / 2, time, found);
  }

  const std::vector<Lifetime>& lifetimes_;
  std::vector<size_t> by_begin_;
  std::vector<size_t> leaf_of_;
  size_t leaves_ = 1;
  std::vector<int64_t> latest_end_;
};

}  // namespace

ArenaPlan plan_arena(const std::vector<Lifetime>& lifetimes) {
  ArenaPlan plan;
  plan.offsets.resize(lifetimes.size());
  plan.sizes.reserve(lifetimes.size());
  for (const Lifetime& lifetime : lifetimes) plan.sizes.push_back(lifetime.bytes);

  std::vector<size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });

  PlacedBlocks placed(lifetimes);
  std::vector<size_t> others;
  for (const size_t index : order) {
    const size_t bytes = aligned(lifetimes[index].bytes);
    placed.find(lifetimes[index], others);
    std::ranges::sort(others, {}, [&](size_t other) { return plan.offsets[other]; });
    size_t offset = 0;
    for (const size_t other : others) {
      if (offset + bytes <= plan.offsets[other]) break;
      offset = std::max(offset, plan.offsets[other] + aligned(lifetimes[other].bytes));
    }
    plan.offsets[index] = offset;
    plan.total_bytes = std::max(plan.total_bytes, offset + bytes);
    placed.add(index);
  }

  std::vector<std::pair<int64_t, int64_t>> events;  // (clock, change of live bytes); every clock value is one event
  for (const Lifetime& lifetime : lifetimes) {
    events.emplace_back(lifetime.begin, static_cast<int64_t>(aligned(lifetime.bytes)));
    events.emplace_back(lifetime.end, -static_cast<int64_t>(aligned(lifetime.bytes)));
  }
  std::sort(events.begin(), events.end());
  int64_t live = 0;
  int64_t peak = 0;
  for (const auto& [clock, change] : events) peak = std::max(peak, live += change);
  plan.live_bytes = static_cast<size_t>(peak);
  return plan;
}

struct StaticArena::Block : Storage {
  std::shared_ptr<Storage> memory;
  std::shared_ptr<int64_t> live;
  ~Block() override { --*live; }
};

std::shared_ptr<Storage> DeviceMemory::allocate(size_t bytes) { return device_->allocate(bytes); }

struct ReusedMemory::Pool {
  std::unique_ptr<Memory> source;
  std::multimap<size_t, std::shared_ptr<Storage>> released;  // by size
};

struct ReusedMemory::Block : Storage {
  std::shared_ptr<Pool> pool;
  std::shared_ptr<Storage> memory;
  ~Block() override { pool->released.emplace(memory->bytes, memory); }
};

ReusedMemory::ReusedMemory(std::unique_ptr<Memory> source) : pool_(std::make_shared<Pool>()) {
  pool_->source = std::move(source);
}

std::shared_ptr<Storage> ReusedMemory::allocate(size_t bytes) {
  std::shared_ptr<Storage> memory;
  const auto found = pool_->released.lower_bound(bytes);
  if (found != pool_->released.end() && found->first / 2 <= bytes) {
    memory = pool_->released.extract(found).mapped();
  } else {
    try {
      memory = pool_->source->allocate(bytes);
    } catch (const Error&) {
      if (pool_->released.empty()) throw;
      pool_->released.clear();
      memory = pool_->source->allocate(bytes);
    }
  }
  auto block = std::make_shared<Block>();
  block->pool = pool_;
  block->data = memory->data;
  block->bytes = bytes;
  block->device = memory->device;
  block->memory = std::move(memory);
  return block;
}

std::unique_ptr<Memory> make_memory(DeviceOperators* device) {
  if (device == nullptr) return std::make_unique<HeapMemory>();
  return std::make_unique<ReusedMemory>(std::make_unique<DeviceMemory>(*device));
}

StaticArena::StaticArena(ArenaPlan plan, Memory& source)
    : plan_(std::move(plan)), memory_(source.allocate(plan_.total_bytes)), live_(std::make_shared<int64_t>(0)) {}

StaticArena::StaticArena(ArenaPlan plan, std::shared_ptr<Storage> block)
    : plan_(std::move(plan)), memory_(std::move(block)), live_(std::make_shared<int64_t>(0)) {
  CHECK_GE(memory_->bytes, plan_.total_bytes);
}

StaticArena::StaticArena(ArenaPlan plan) : plan_(std::move(plan)), live_(std::make_shared<int64_t>(0)) {
  memory_ = HeapMemory().allocate(plan_.total_bytes);
}

std::shared_ptr<Storage> StaticArena::allocate(size_t bytes) {
  CHECK_LT(next_, plan_.sizes.size()) << "the step allocates more often than its plan";
  CHECK_EQ(bytes, plan_.sizes[next_]) << "allocation " << next_ << " differs from the plan";
  auto block = make_recycled<Block>();
  block->data = memory_->data + plan_.offsets[next_];
  block->bytes = bytes;
  block->device = memory_->device;
  block->memory = memory_;
  block->live = live_;
  ++*live_;
  ++next_;
  return block;
}

void StaticArena::restart() {
  CHECK_EQ(*live_, 0) << "tensors of the last step are still alive";
  next_ = 0;
}

}  // namespace tsugi
