// The sm_90a part of the device layer on the emulator; hopper.cuh says what there is.
#pragma once

#include "ops/cuda/emulated/device.h"
#include "ops/cuda/tensor_map.h"

namespace tsugi::dev {

/// As descriptors name it: bytes from the start of the block's shared memory.
inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(static_cast<const std::byte*>(pointer) - shared_memory().data());
}

void mbarrier_init(uint64_t* barrier, int arrivals, Where where = Where::current());
void mbarrier_arrive(uint64_t* barrier, Where where = Where::current());
void mbarrier_arrive_expect(uint64_t* barrier, int bytes, Where where = Where::current());
void mbarrier_wait(uint64_t* barrier, uint32_t parity, Where where = Where::current());
void fence_proxy_async();
inline void fence_proxy_async_global() {}
inline void fence_mbarrier_init() { fence_proxy_async(); }

void tma_load(void* to, const TensorMap& map, uint64_t* barrier, int c0, int c1, int c2, int c3,
              Where where = Where::current());
void tma_store(const TensorMap& map, const void* from, int c0, int c1, int c2, int c3, Where where = Where::current());
void tma_store_commit();
void tma_store_wait_at_most(int groups);
template <int Groups>
void tma_store_wait() {
  tma_store_wait_at_most(Groups);
}

void tma_store_wait_read_at_most(int groups);
template <int Groups>
void tma_store_wait_read() {
  tma_store_wait_read_at_most(Groups);
}
void issue_bulk(bool add, float* to, const float* from, int bytes, Where where);
inline void bulk_store(float* to, const float* from, int bytes, Where where = Where::current()) {
  issue_bulk(false, to, from, bytes, where);
}
inline void bulk_add(float* to, const float* from, int bytes, Where where = Where::current()) {
  issue_bulk(true, to, from, bytes, where);
}

void wgmma_fence(Where where = Where::current());
void wgmma_commit(Where where = Where::current());
void wgmma_wait_at_most(int groups, Where where);
template <int Groups>
void wgmma_wait(Where where = Where::current()) {
  wgmma_wait_at_most(Groups, where);
}

inline void compute_before_wait(float x, const void*, Where where = Where::current()) {
  if (x < 0.0f) emulated::fault("compute_before_wait: " + std::to_string(x) + " would be stored", where);
}

/// The instruction with its registers; `a_registers` is null when `a` is a descriptor.
void issue_wgmma(int n, bool transposed_a, bool transposed_b, bool accumulate, float* d, const uint32_t* a_registers,
                 uint64_t a, uint64_t b, Where where);

template <int N, bool TransposedB, bool Accumulate = true, bool TransposedA = false>
void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, Where where = Where::current()) {
  issue_wgmma(N, TransposedA, TransposedB, Accumulate, d, nullptr, a, b, where);
}
template <int N, bool TransposedB, bool Accumulate = true>
void wgmma(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, Where where = Where::current()) {
  issue_wgmma(N, false, TransposedB, Accumulate, d, a, 0, b, where);
}

/// How many registers a thread may have; only changes speed.
template <int Registers>
void claim_registers() {
  static_assert(Registers % 8 == 0 && Registers >= 24 && Registers <= 256);
}
template <int Registers>
void release_registers() {
  static_assert(Registers % 8 == 0 && Registers >= 24 && Registers <= 256);
}

}  // namespace tsugi::dev
