// The machine that runs kernels: a fiber per thread, blocks that run interleaved, an adversarial scheduler.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

#include "ops/cuda/emulated/fault.h"
#include "ops/cuda/emulated/fiber.h"
#include "ops/cuda/emulated/shared_memory.h"
#include "ops/cuda/launch_size.h"

namespace tsugi::emulated {

using Where = std::source_location;

struct Warp;
struct Block;

/// A pending asynchronous copy of a thread (cp.async).
struct PendingCopy {
  void* to;
  const void* from;  ///< null: zeros
  int group;         ///< of the thread's commits
};

/// A pending store or addition of a thread by the asynchronous engine.
struct PendingStore {
  int group;
  const void* from;  ///< in shared memory
  size_t bytes;
  Where where;
  std::function<void(const std::byte*)> write;  ///< what was read
  std::vector<std::byte> read = {};             ///< once it was
};

/// wgmma issued and not yet executed.
struct MatrixProduct {
  int group = 0;  ///< of the warp's commits
  int n = 0;
  bool transposed_a = false;
  bool transposed_b = false;
  bool accumulate = true;
  float* d = nullptr;  ///< of lane 0: names the accumulators
  std::array<const uint32_t*, kWarpLanes> a_registers{};
  uint64_t a = 0;
  uint64_t b = 0;
  Where where;
};

/// Registers that belong to pending products: their true values are here, the registers hold NaN.
struct Accumulators {
  std::array<float*, kWarpLanes> registers{};
  std::vector<float> values;
  int pending = 0;
};

/// One CUDA thread.
struct Lane {
  enum class State : uint8_t { kReady, kPolling, kCollective, kDone };

  Fiber fiber;
  Warp* warp = nullptr;
  int thread = 0;  ///< index in the block
  State state = State::kDone;
  const char* doing = "";  ///< the operation that it waits in
  Where where;
  uint32_t fences = 0;
  int copy_groups = 0;  ///< committed so far
  std::deque<PendingCopy> copies;
  int store_groups = 0;
  std::deque<PendingStore> stores;

  int lane() const { return thread % kWarpLanes; }
};

/// 32 threads that execute collectives together.
struct Warp {
  Block* block = nullptr;
  int index = 0;
  std::vector<std::unique_ptr<Lane>> lanes;
  int arrived = 0;  ///< lanes in the current collective
  std::array<void*, kWarpLanes> arguments{};
  bool blocked = false;  ///< waits at a named barrier
  int barrier = 0;       ///< which
  Where barrier_where;
  Clock clock{};
  std::deque<MatrixProduct> products;
  std::vector<Accumulators> accumulators;
  int product_groups = 0;
  bool registers_fenced = false;  ///< wgmma_fence since the last wait

  int in_state(Lane::State state) const;
  /// A release: what the warp did so far can now be handed over; what it does later is distinguishable.
  void tick() { ++clock[static_cast<size_t>(index)]; }
};

/// bar.sync and bar.arrive.
struct NamedBarrier {
  int expected = 0;  ///< threads, while any has arrived
  int arrived = 0;
  Clock clock{};
  std::vector<Warp*> waiting;
};

/// What an mbarrier in shared memory holds besides its address.
struct TransactionBarrier {
  int expected = 0;  ///< arrivals of a phase
  int pending = 0;
  int64_t bytes = 0;  ///< expected and not yet transferred
  uint32_t phase = 0;
  Clock clock{};
  Clock completed{};  ///< of the last completed phase
};

/// Thread block.
struct Block {
  bool live = false;
  Index3 index;
  int warp_count = 0;
  int live_lanes = 0;
  std::vector<std::unique_ptr<Warp>> warps;
  std::array<NamedBarrier, 16> barriers;
  std::vector<std::pair<const void*, TransactionBarrier>> transaction_barriers;
  std::vector<std::function<void()>> transfers;  ///< of the asynchronous engine, not yet landed
  std::vector<uint32_t> fences;                  ///< of every thread
  Clock engine_clock{};
  SharedMemory shared;

  std::string name() const;
};

/// How launches are run, for the whole process. Tests vary the seed.
struct Options {
  uint64_t seed = 1;
  int resident_blocks = 3;                            ///< blocks that run at the same time
  unsigned shared_bytes = cuda_limits::kSharedBytes;  ///< of a block, of the device that is emulated
  bool gelu_epilogue = true;  ///< the library of products has GELU within one (where it has not been asked yet)
};
Options& options();

/// Runs the grid; throws Fault. `body` is called once per thread, on its fiber.
void run_grid(const LaunchSize& size, const std::function<void()>& body);

/// The thread that runs now. Valid inside a kernel only.
extern thread_local Lane* current_lane;
Accessor current_accessor();

/// Throws a Fault with the source position; what runs the thread adds its name.
[[noreturn]] void fault(const std::string& message, Where where);

/// Gives up the processor; the lane's state says when it may go on.
void yield();

/// The lane that asks is suspended until `done` returns true; `done` runs on its own stack.
void poll(const char* doing, Where where, const std::function<bool()>& done);

/// Enters a collective; true for the last lane to arrive, which executes it for all and then calls leave_collective().
bool enter_collective(const char* doing, Where where, void* arguments);
void leave_collective();

/// `run(Arguments* const* all)` is executed once, when all 32 lanes have brought their arguments.
template <class Arguments, class F>
void collective(const char* doing, Where where, Arguments& mine, F&& run) {
  if (enter_collective(doing, where, &mine)) {
    Warp& warp = *current_lane->warp;
    std::array<Arguments*, kWarpLanes> all;
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<Arguments*>(warp.arguments[i]);
    run(all);
    leave_collective();
  }
}

/// Named barriers; `threads` counts the arrivals that complete it. Executed by whole warps.
void barrier_arrive(int id, int threads, bool wait, Where where);

/// A random number for the order of work that is not inside a kernel.
uint32_t order_number();

/// How often the host has waited for a stream (Stream::synchronize).
inline int64_t host_waits = 0;

/// The grid of the launch that runs.
Index3 current_grid_size();

}  // namespace tsugi::emulated
