// Where tensors get their memory: the heap, or an arena whose layout was planned from a dry run.
//
// A training step allocates the same sizes in the same order every time. A dry run on a meta device records them with
// their lifetimes (PlanningMemory), plan_arena() packs them into one block, and the real steps replay the plan
// (StaticArena): no allocation in a step, no fragmentation, an exact number of bytes before anything is allocated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "ops/tensor/tensor.h"

namespace tsugi {

inline constexpr size_t kAlignment = 64;

constexpr size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

class DeviceOperators;

/// A source of storage. Not thread-safe: one thread drives a device.
class Memory {
 public:
  virtual ~Memory() = default;
  /// 64-byte aligned; uninitialised.
  virtual std::shared_ptr<Storage> allocate(size_t bytes) = 0;
};

/// One aligned heap block per tensor.
class HeapMemory : public Memory {
 public:
  std::shared_ptr<Storage> allocate(size_t bytes) override;
};

/// One allocation of the dry run: alive in [begin, end) of a clock that ticks at every allocation and release.
struct Lifetime {
  size_t bytes = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

/// Where every allocation of a step lies in the arena, in the order of allocation.
struct ArenaPlan {
  std::vector<size_t> offsets;
  std::vector<size_t> sizes;
  size_t total_bytes = 0;  ///< the size of the arena
  size_t live_bytes = 0;   ///< the largest sum of live allocations: a lower bound of any layout
};

/// Records lifetimes; its storage has no data.
class PlanningMemory : public Memory {
 public:
  PlanningMemory();
  std::shared_ptr<Storage> allocate(size_t bytes) override;
  /// Everything allocated must have been released, or counts as live to the end.
  std::vector<Lifetime> lifetimes() const;

 private:
  struct Log;
  std::shared_ptr<Log> log_;
};

/// Greedy by size, best fit in time: blocks are placed largest first at the lowest offset free during their lifetime
/// (Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020, section 5.2).
ArenaPlan plan_arena(const std::vector<Lifetime>& lifetimes);

/// Blocks of a device's own memory. For what lives long: an allocation may cost milliseconds.
class DeviceMemory : public Memory {
 public:
  explicit DeviceMemory(DeviceOperators& device) : device_(&device) {}
  std::shared_ptr<Storage> allocate(size_t bytes) override;

 private:
  DeviceOperators* device_;
};

/// Gives blocks that were released again, to whoever asks for at most as much and at least half of it; returns them to
/// `source` only where that has no memory left. For passes whose shapes differ, where an allocation costs much. On a
/// device, who gets a block may write what work queued before still reads: all of it runs in order.
class ReusedMemory : public Memory {
 public:
  explicit ReusedMemory(std::unique_ptr<Memory> source);
  std::shared_ptr<Storage> allocate(size_t bytes) override;

 private:
  struct Pool;
  struct Block;
  std::shared_ptr<Pool> pool_;
};

/// Memory for what no plan knows: the heap where `device` is null, else blocks of the device that are used again.
std::unique_ptr<Memory> make_memory(DeviceOperators* device);

/// Replays a plan. The n-th allocation since restart() must have the n-th planned size (checked).
class StaticArena : public Memory {
 public:
  /// The arena is one block of `source`.
  StaticArena(ArenaPlan plan, Memory& source);
  /// In `block`, of at least as many bytes, which arenas of other times may share.
  StaticArena(ArenaPlan plan, std::shared_ptr<Storage> block);
  /// On the heap.
  explicit StaticArena(ArenaPlan plan);
  std::shared_ptr<Storage> allocate(size_t bytes) override;
  /// Begins the next step. All tensors of the last one must be gone (checked).
  void restart();
  size_t total_bytes() const { return plan_.total_bytes; }

 private:
  struct Block;
  ArenaPlan plan_;
  std::shared_ptr<Storage> memory_;
  std::shared_ptr<int64_t> live_;
  size_t next_ = 0;
};

}  // namespace tsugi
