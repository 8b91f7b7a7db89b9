#include "ops/cuda/emulated/machine.h"

#include <algorithm>
#include <sstream>

namespace tsugi::emulated {

thread_local Lane* current_lane = nullptr;

namespace {

/// All that a launch needs; fibers and shadows are kept for the next one.
class Machine {
 public:
  void run(const LaunchSize& size, const std::function<void()>& body);
  uint32_t random() {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return static_cast<uint32_t>(random_ >> 16);
  }
  void yield() { Fiber::switch_between(current_lane->fiber, scheduler_); }
  [[noreturn]] void run_lane();

  LaunchSize size;
  bool progress = false;  ///< something other than a failed poll has happened

 private:
  void start_block(Block& block, uint64_t index);
  void resume(Lane& lane);
  void run_warp(Warp& warp, int sweeps);
  bool step();
  void poll(Warp& warp);
  bool poll_all();
  bool land_one();
  [[noreturn]] void deadlock();

  uint64_t random_ = 1;
  const std::function<void()>* body_ = nullptr;
  std::vector<std::unique_ptr<Block>> blocks_;
  size_t resident_ = 0;
  std::vector<Warp*> runnable_;
  Fiber scheduler_;
  std::exception_ptr failure_;
};

Machine& machine() {
  static thread_local Machine instance;
  return instance;
}

void lane_entry() { machine().run_lane(); }

void Machine::run_lane() {
  Fiber::entered(scheduler_);
  try {
    (*body_)();
    if (!current_lane->stores.empty()) throw Fault("left the kernel before its TMA stores had read shared memory");
    if (!current_lane->warp->products.empty()) throw Fault("left the kernel with wgmma pending");
  } catch (const Fault& problem) {
    const Lane& lane = *current_lane;
    std::ostringstream text;
    text << lane.warp->block->name() << ", thread " << lane.thread << ": " << problem.what();
    if (lane.doing[0] != 0) {
      text << " (last at " << lane.doing << ", " << lane.where.file_name() << ":" << lane.where.line() << ")";
    }
    failure_ = std::make_exception_ptr(Fault(text.str()));
  } catch (...) {
    failure_ = std::current_exception();
  }
  current_lane->state = Lane::State::kDone;
  --current_lane->warp->block->live_lanes;
  progress = true;
  yield();
  __builtin_unreachable();
}

void Machine::start_block(Block& block, uint64_t index) {
  const uint64_t x = size.grid.x;
  const uint64_t y = size.grid.y;
  block.index = {static_cast<unsigned>(index % x), static_cast<unsigned>(index / x % y),
                 static_cast<unsigned>(index / x / y)};
  block.live = true;
  block.warp_count = static_cast<int>(size.threads) / kWarpLanes;
  block.live_lanes = static_cast<int>(size.threads);
  block.barriers = {};
  block.transaction_barriers.clear();
  block.transfers.clear();
  block.fences.assign(size.threads, 0);
  block.engine_clock = {};
  block.engine_clock[kEngine] = 1;
  block.shared.reset(size.shared_bytes);
  while (static_cast<int>(block.warps.size()) < block.warp_count) {
    auto warp = std::make_unique<Warp>();
    warp->block = &block;
    warp->index = static_cast<int>(block.warps.size());
    for (int i = 0; i < kWarpLanes; ++i) {
      auto lane = std::make_unique<Lane>();
      lane->warp = warp.get();
      lane->thread = warp->index * kWarpLanes + i;
      warp->lanes.push_back(std::move(lane));
    }
    block.warps.push_back(std::move(warp));
  }
  for (int w = 0; w < block.warp_count; ++w) {
    Warp& warp = *block.warps[static_cast<size_t>(w)];
    warp.arrived = 0;
    warp.blocked = false;
    warp.clock = {};
    warp.clock[static_cast<size_t>(w)] = 1;
    warp.products.clear();
    warp.accumulators.clear();
    warp.product_groups = 0;
    warp.registers_fenced = false;
    for (auto& lane : warp.lanes) {
      lane->state = Lane::State::kReady;
      lane->doing = "";
      lane->fences = 0;
      lane->copy_groups = 0;
      lane->copies.clear();
      lane->store_groups = 0;
      lane->stores.clear();
      lane->fiber.start(lane_entry);
    }
  }
}

void Machine::resume(Lane& lane) {
  if (lane.state == Lane::State::kReady) progress = true;
  current_lane = &lane;
  Fiber::switch_between(scheduler_, lane.fiber);
  current_lane = nullptr;
  if (failure_) std::rethrow_exception(failure_);
}

void Machine::run_warp(Warp& warp, int sweeps) {
  while (sweeps-- > 0) {
    const int start = static_cast<int>(random() % kWarpLanes);
    bool ran = false;
    for (int i = 0; i < kWarpLanes && !warp.blocked; ++i) {
      Lane& lane = *warp.lanes[static_cast<size_t>((start + i) % kWarpLanes)];
      if (lane.state == Lane::State::kReady) {
        resume(lane);
        ran = true;
      } else if (lane.state == Lane::State::kPolling) {
        resume(lane);
      }
    }
    if (!ran || warp.blocked) return;
  }
}

/// Runs some warp that can make a step without polling. False when there is none.
bool Machine::step() {
  runnable_.clear();
  for (size_t b = 0; b < resident_; ++b) {
    Block& block = *blocks_[b];
    if (!block.live) continue;
    for (int w = 0; w < block.warp_count; ++w) {
      Warp& warp = *block.warps[static_cast<size_t>(w)];
      if (!warp.blocked && warp.in_state(Lane::State::kReady) > 0) runnable_.push_back(&warp);
    }
  }
  if (runnable_.empty()) return false;
  // A missing barrier shows when one warp runs far ahead of the others: half of the time it runs until it must wait.
  Warp& warp = *runnable_[random() % runnable_.size()];
  run_warp(warp, random() % 2 == 0 ? INT32_MAX : static_cast<int>(1 + random() % 8));
  // Who waits may also see at once that it has come, before others have gone as far as they can.
  Block& watching = *blocks_[random() % resident_];
  if (watching.live) poll(*watching.warps[random() % static_cast<size_t>(watching.warp_count)]);
  // Transfers of the asynchronous engine may also land early.
  Block& block = *warp.block;
  if (!block.transfers.empty() && random() % 8 == 0) land_one();
  return true;
}

void Machine::poll(Warp& warp) {
  for (auto& lane : warp.lanes) {
    if (lane->state == Lane::State::kPolling && !warp.blocked) resume(*lane);
  }
}

bool Machine::poll_all() {
  progress = false;
  for (size_t b = 0; b < resident_; ++b) {
    Block& block = *blocks_[b];
    if (!block.live) continue;
    for (int w = 0; w < block.warp_count; ++w) poll(*block.warps[static_cast<size_t>(w)]);
  }
  return progress;
}

/// Lands one pending transfer of a random block. Transfers complete in any order.
bool Machine::land_one() {
  const size_t first = random() % resident_;
  for (size_t i = 0; i < resident_; ++i) {
    Block& block = *blocks_[(first + i) % resident_];
    if (!block.live || block.transfers.empty()) continue;
    const auto at = static_cast<std::ptrdiff_t>(random() % block.transfers.size());
    const std::function<void()> transfer = std::move(block.transfers[static_cast<size_t>(at)]);
    block.transfers.erase(block.transfers.begin() + at);
    transfer();
    return true;
  }
  return false;
}

void Machine::deadlock() {
  std::ostringstream text;
  text << "deadlock: nothing can run any more";
  for (size_t b = 0; b < resident_; ++b) {
    const Block& block = *blocks_[b];
    if (!block.live) continue;
    for (int w = 0; w < block.warp_count; ++w) {
      const Warp& warp = *block.warps[static_cast<size_t>(w)];
      text << "\n  " << block.name() << ", warp " << w << ": ";
      if (warp.blocked) {
        const NamedBarrier& barrier = block.barriers[static_cast<size_t>(warp.barrier)];
        text << "waits at barrier " << warp.barrier << ", where " << barrier.arrived << " of " << barrier.expected
             << " threads have arrived, " << warp.barrier_where.file_name() << ":" << warp.barrier_where.line();
        continue;
      }
      const int done = warp.in_state(Lane::State::kDone);
      if (done > 0) text << done << " threads have left the kernel";
      for (const auto& lane : warp.lanes) {
        if (lane->state == Lane::State::kDone) continue;
        text << (done > 0 ? "; " : "") << "thread " << lane->thread << " waits in " << lane->doing << ", "
             << lane->where.file_name() << ":" << lane->where.line();
        break;
      }
    }
    for (const auto& [address, barrier] : block.transaction_barriers) {
      text << "\n  " << block.name() << ", mbarrier at byte "
           << static_cast<const std::byte*>(address) - block.shared.data() << ": phase " << barrier.phase << " lacks "
           << barrier.pending << " of " << barrier.expected << " arrivals and " << barrier.bytes << " bytes";
    }
  }
  throw Fault(text.str());
}

void Machine::run(const LaunchSize& launch, const std::function<void()>& body) {
  if (launch.threads == 0 || launch.threads % kWarpLanes != 0 || launch.threads > cuda_limits::kThreads) {
    throw Fault("launch: " + std::to_string(launch.threads) + " threads per block, not a multiple of 32 up to 1024");
  }
  if (launch.shared_bytes > cuda_limits::kSharedBytes) {
    throw Fault("launch: " + std::to_string(launch.shared_bytes) + " bytes of shared memory per block, at most " +
                std::to_string(cuda_limits::kSharedBytes) + " exist");
  }
  if (launch.grid.x == 0 || launch.grid.y == 0 || launch.grid.z == 0) throw Fault("launch: an empty grid");
  if (launch.grid.y > 65535 || launch.grid.z > 65535) throw Fault("launch: y and z of a grid are at most 65535");
  size = launch;
  body_ = &body;
  failure_ = nullptr;
  random_ = options().seed * 0x9E3779B97F4A7C15u + 1;
  for (int i = 0; i < 4; ++i) random();
  const uint64_t count = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  resident_ = static_cast<size_t>(std::min<uint64_t>(count, static_cast<uint64_t>(options().resident_blocks)));
  while (blocks_.size() < resident_) blocks_.push_back(std::make_unique<Block>());
  uint64_t next = 0;
  for (size_t b = 0; b < resident_; ++b) start_block(*blocks_[b], next++);
  for (;;) {
    bool any = false;
    for (size_t b = 0; b < resident_; ++b) {
      Block& block = *blocks_[b];
      if (block.live && block.live_lanes == 0) {
        block.live = false;
        if (!block.transfers.empty()) throw Fault(block.name() + " ended before a transfer into its memory landed");
        if (next < count) start_block(block, next++);
      }
      any |= block.live;
    }
    if (!any) return;
    if (!step() && !poll_all() && !land_one()) deadlock();
  }
}

}  // namespace

int Warp::in_state(Lane::State state) const {
  int count = 0;
  for (const auto& lane : lanes) count += lane->state == state;
  return count;
}

std::string Block::name() const {
  return "block (" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " + std::to_string(index.z) + ")";
}

Options& options() {
  static Options instance;
  return instance;
}

void run_grid(const LaunchSize& size, const std::function<void()>& body) { machine().run(size, body); }

Accessor current_accessor() {
  const Lane& lane = *current_lane;
  return {lane.thread, &lane.warp->clock, lane.fences};
}

void fault(const std::string& message, Where where) {
  throw Fault(message + ", " + where.file_name() + ":" + std::to_string(where.line()));
}

void yield() { machine().yield(); }

void poll(const char* doing, Where where, const std::function<bool()>& done) {
  Lane& lane = *current_lane;
  while (!done()) {
    lane.state = Lane::State::kPolling;
    lane.doing = doing;
    lane.where = where;
    yield();
  }
  if (lane.state == Lane::State::kPolling) {
    lane.state = Lane::State::kReady;
    machine().progress = true;
  }
}

bool enter_collective(const char* doing, Where where, void* arguments) {
  Lane& lane = *current_lane;
  Warp& warp = *lane.warp;
  if (warp.arrived > 0) {
    for (const auto& other : warp.lanes) {
      if (other->state != Lane::State::kCollective) continue;
      if (other->where.line() != where.line() || other->doing != doing) {
        fault(std::string("the warp diverges: this thread is at ") + doing + ", thread " +
                  std::to_string(other->thread) + " at " + other->doing + " in line " +
                  std::to_string(other->where.line()),
              where);
      }
      break;
    }
  }
  warp.arguments[static_cast<size_t>(lane.lane())] = arguments;
  lane.doing = doing;
  lane.where = where;
  if (++warp.arrived == kWarpLanes) {
    warp.arrived = 0;
    return true;
  }
  lane.state = Lane::State::kCollective;
  yield();
  return false;
}

void leave_collective() {
  Warp& warp = *current_lane->warp;
  for (auto& lane : warp.lanes) lane->state = Lane::State::kReady;
  if (warp.blocked) yield();
}

void barrier_arrive(int id, int threads, bool wait, Where where) {
  struct Call {
    int id;
    int threads;
  } call{id, threads};
  collective(wait ? "barrier_sync" : "barrier_arrive", where, call, [&](const auto& all) {
    Warp& warp = *current_lane->warp;
    for (const Call* other : all) {
      if (other->id != id || other->threads != threads) fault("the lanes of a warp name different barriers", where);
    }
    if (id < 0 || id >= 16) fault("there is no barrier " + std::to_string(id), where);
    NamedBarrier& barrier = warp.block->barriers[static_cast<size_t>(id)];
    if (barrier.arrived == 0) {
      barrier.expected = threads;
      barrier.clock = {};
    } else if (barrier.expected != threads) {
      fault("barrier " + std::to_string(id) + " expects " + std::to_string(barrier.expected) + " threads, not " +
                std::to_string(threads),
            where);
    }
    join(barrier.clock, warp.clock);
    warp.tick();
    barrier.arrived += kWarpLanes;
    if (barrier.arrived > barrier.expected) {
      fault("more threads arrive at barrier " + std::to_string(id) + " than it expects", where);
    }
    if (wait) {
      warp.blocked = true;
      warp.barrier = id;
      warp.barrier_where = where;
      barrier.waiting.push_back(&warp);
    }
    if (barrier.arrived < barrier.expected) return;
    for (Warp* waiting : barrier.waiting) {
      join(waiting->clock, barrier.clock);
      waiting->blocked = false;
    }
    barrier.waiting.clear();
    barrier.arrived = 0;
  });
}

uint32_t order_number() {
  static uint64_t seed = 0;
  static uint64_t state = 0;
  if (seed != options().seed) {
    seed = options().seed;
    state = seed * 0xD1342543DE82EF95u + 1;
  }
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<uint32_t>(state >> 40);
}

Index3 current_grid_size() { return machine().size.grid; }

}  // namespace tsugi::emulated
