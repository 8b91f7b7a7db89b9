// mbarriers and the asynchronous engine. Loads land between their issue and the moment when nothing else can run;
// stores read shared memory when their issuer waits for them.
#include <algorithm>

#include "ops/cuda/emulated/hopper.h"

namespace tsugi {
namespace {

using emulated::Accessor;
using emulated::Block;
using emulated::Clock;
using emulated::Fault;
using emulated::join;
using emulated::TransactionBarrier;
using emulated::Where;

constexpr size_t kSwizzleRow = 128;
constexpr size_t kSwizzleAtom = 1024;

Block& block() { return *emulated::current_lane->warp->block; }

Accessor engine(const Block& b) { return {emulated::kEngine * emulated::kWarpLanes, &b.engine_clock, 0}; }

TransactionBarrier& find(Block& b, const uint64_t* address) {
  for (auto& [key, barrier] : b.transaction_barriers) {
    if (key == address) return barrier;
  }
  throw Fault("an mbarrier that nobody has initialised");
}

TransactionBarrier& use(uint64_t* address) {
  Block& b = block();
  b.shared.read(address, sizeof(*address), emulated::current_accessor());
  return find(b, address);
}

void complete_if_due(TransactionBarrier& barrier) {
  if (barrier.pending > 0 || barrier.bytes != 0) return;
  barrier.completed = barrier.clock;
  barrier.pending = barrier.expected;
  ++barrier.phase;
}

/// Calls f(offset in the packed tile after swizzling, address in global memory or null where outside) per element run
/// of 16 bytes, or per element where the box is narrower.
template <class F>
void for_tile(const dev::TensorMap& map, const int (&at)[4], F&& f) {
  size_t row = 0;
  const size_t row_bytes = static_cast<size_t>(map.box[0]) * sizeof(bf16);
  for (int i3 = 0; i3 < map.box[3]; ++i3) {
    for (int i2 = 0; i2 < map.box[2]; ++i2) {
      for (int i1 = 0; i1 < map.box[1]; ++i1, ++row) {
        for (int i0 = 0; i0 < map.box[0]; ++i0) {
          const int64_t c[4] = {int64_t{at[0]} + i0, int64_t{at[1]} + i1, int64_t{at[2]} + i2, int64_t{at[3]} + i3};
          bool inside = true;
          int64_t offset = 0;
          for (int d = 0; d < 4; ++d) {
            inside = inside && c[d] >= 0 && c[d] < map.extents[d];
            offset += c[d] * map.strides[d];
          }
          size_t byte = row * row_bytes + static_cast<size_t>(i0) * sizeof(bf16);
          if (map.swizzled) byte ^= (byte / kSwizzleRow % 8) * 16;
          f(byte, inside ? static_cast<const std::byte*>(map.base) + offset : nullptr);
        }
      }
    }
  }
}

size_t tile_bytes(const dev::TensorMap& map) {
  return static_cast<size_t>(map.box[0] * map.box[1] * map.box[2] * map.box[3]) * sizeof(bf16);
}

void check_tile(const dev::TensorMap& map, const void* tile, Where where) {
  const size_t alignment = map.swizzled ? kSwizzleAtom : 128;
  if (dev::shared_address(tile) % alignment != 0) {
    emulated::fault("TMA: a tile that does not start at a multiple of " + std::to_string(alignment) + " bytes", where);
  }
}

void read_source(emulated::PendingStore& store) {
  if (!store.read.empty()) return;
  block().shared.read_by_engine(store.from, store.bytes, emulated::current_accessor(), block().fences);
  const auto* from = static_cast<const std::byte*>(store.from);
  store.read.assign(from, from + store.bytes);
}

void issue_store(const void* from, size_t bytes, Where where, std::function<void(const std::byte*)> write) {
  emulated::Lane& lane = *emulated::current_lane;
  block().shared.read_by_engine(from, bytes, emulated::current_accessor(), block().fences);
  lane.stores.push_back({lane.store_groups, from, bytes, where, std::move(write)});
}

}  // namespace

namespace cuda {

dev::TensorMap make_tensor_map(const TensorMapOptions& options) {
  dev::TensorMap map{.base = options.base, .swizzled = options.swizzled};
  if (reinterpret_cast<uintptr_t>(options.base) % 16 != 0)
    throw Fault("tensor map: a base that is not 16-byte aligned");
  if (options.strides[0] != 1) throw Fault("tensor map: the innermost dimension is not contiguous");
  for (int d = 0; d < 4; ++d) {
    if (options.extents[d] < 1) throw Fault("tensor map: an empty dimension");
    if (options.box[d] < 1 || options.box[d] > 256) throw Fault("tensor map: a box of more than 256 elements");
    if (d > 0 && options.strides[d] % 8 != 0) throw Fault("tensor map: a stride that is not a multiple of 16 bytes");
    map.extents[d] = options.extents[d];
    map.strides[d] = options.strides[d] * static_cast<int64_t>(sizeof(bf16));
    map.box[d] = options.box[d];
  }
  if (options.box[0] % 8 != 0) throw Fault("tensor map: a box that is not a multiple of 16 bytes wide");
  if (options.swizzled && options.box[0] != 64) throw Fault("tensor map: a swizzled box that is not 64 elements wide");
  return map;
}

}  // namespace cuda

namespace dev {

void mbarrier_init(uint64_t* barrier, int arrivals, Where where) {
  if (reinterpret_cast<uintptr_t>(barrier) % sizeof(*barrier) != 0) emulated::fault("a misaligned mbarrier", where);
  Block& b = block();
  b.shared.write(barrier, sizeof(*barrier), emulated::current_accessor());
  TransactionBarrier fresh;
  fresh.expected = fresh.pending = arrivals;
  std::erase_if(b.transaction_barriers, [&](const auto& entry) { return entry.first == barrier; });
  b.transaction_barriers.emplace_back(barrier, fresh);
}

void mbarrier_arrive_expect(uint64_t* address, int bytes, Where where) {
  TransactionBarrier& barrier = use(address);
  emulated::Warp& warp = *emulated::current_lane->warp;
  barrier.bytes += bytes;
  if (--barrier.pending < 0) emulated::fault("more arrivals at an mbarrier than it was initialised for", where);
  join(barrier.clock, warp.clock);
  warp.tick();
  complete_if_due(barrier);
}

void mbarrier_arrive(uint64_t* address, Where where) { mbarrier_arrive_expect(address, 0, where); }

void mbarrier_wait(uint64_t* address, uint32_t parity, Where where) {
  use(address);
  emulated::poll("mbarrier_wait", where, [&] { return find(block(), address).phase % 2 != parity; });
  join(emulated::current_lane->warp->clock, find(block(), address).completed);
}

void fence_proxy_async() {
  emulated::Lane& lane = *emulated::current_lane;
  block().fences[static_cast<size_t>(lane.thread)] = ++lane.fences;
}

void tma_load(void* to, const TensorMap& map, uint64_t* address, int c0, int c1, int c2, int c3, Where where) {
  check_tile(map, to, where);
  Block& b = block();
  b.shared.read_by_engine(address, sizeof(*address), emulated::current_accessor(), b.fences);
  find(b, address);
  const size_t bytes = tile_bytes(map);
  b.shared.begin_copy(to, bytes, emulated::current_accessor());
  std::memset(to, 0xFF, bytes);
  b.transfers.push_back([&b, to, map, address, bytes, c0, c1, c2, c3, where] {
    for_tile(map, {c0, c1, c2, c3}, [&](size_t byte, const std::byte* from) {
      std::byte* slot = static_cast<std::byte*>(to) + byte;
      if (from == nullptr) {
        std::memset(slot, 0, sizeof(bf16));
      } else {
        emulated::check_global(from, sizeof(bf16), sizeof(bf16), where);
        std::memcpy(slot, from, sizeof(bf16));
      }
    });
    b.shared.landed(to, bytes, engine(b));
    TransactionBarrier& barrier = find(b, address);
    join(barrier.clock, b.engine_clock);
    ++b.engine_clock[emulated::kEngine];
    barrier.bytes -= static_cast<int64_t>(bytes);
    complete_if_due(barrier);
  });
}

void tma_store(const TensorMap& map, const void* from, int c0, int c1, int c2, int c3, Where where) {
  check_tile(map, from, where);
  issue_store(from, tile_bytes(map), where, [map, c0, c1, c2, c3, where](const std::byte* values) {
    for_tile(map, {c0, c1, c2, c3}, [&](size_t byte, const std::byte* to) {
      if (to == nullptr) return;
      emulated::check_global(to, sizeof(bf16), sizeof(bf16), where);
      std::memcpy(const_cast<std::byte*>(to), values + byte, sizeof(bf16));
    });
  });
}

void issue_bulk(bool add, float* to, const float* from, int bytes, Where where) {
  if (bytes % 16 != 0 || shared_address(from) % 16 != 0 || reinterpret_cast<uintptr_t>(to) % 16 != 0) {
    emulated::fault("a bulk operation on what is not a multiple of 16 bytes", where);
  }
  emulated::check_global(to, static_cast<size_t>(bytes), 16, where);
  issue_store(from, static_cast<size_t>(bytes), where, [=](const std::byte* values) {
    for (size_t i = 0; i < static_cast<size_t>(bytes) / sizeof(float); ++i) {
      float value;
      std::memcpy(&value, values + i * sizeof(float), sizeof(value));
      to[i] = add ? to[i] + value : value;
    }
  });
}

void tma_store_commit() { ++emulated::current_lane->store_groups; }

void tma_store_wait_read_at_most(int groups) {
  emulated::Lane& lane = *emulated::current_lane;
  for (emulated::PendingStore& store : lane.stores) {
    if (store.group < lane.store_groups - groups) read_source(store);
  }
}

void tma_store_wait_at_most(int groups) {
  emulated::Lane& lane = *emulated::current_lane;
  while (!lane.stores.empty() && lane.stores.front().group < lane.store_groups - groups) {
    read_source(lane.stores.front());
    lane.stores.front().write(lane.stores.front().read.data());
    lane.stores.pop_front();
  }
}

}  // namespace dev
}  // namespace tsugi
