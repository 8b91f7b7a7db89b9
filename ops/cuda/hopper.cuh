// The device layer of sm_90a: mbarriers, TMA, and wgmma. Kernels that use it are compiled for sm_80 too, where calling
// them traps.
//
//   mbarrier_init(b, arrivals), mbarrier_arrive(b), mbarrier_arrive_expect(b, bytes), mbarrier_wait(b, parity)
//       b points to a uint64_t in shared memory. wait returns when the phase of that parity (0 first) has completed:
//       all arrivals made, all expected bytes transferred.
//   fence_mbarrier_init()   after mbarrier_init, before the barrier is synchronised on and used
//   fence_proxy_async()     after ordinary writes of shared memory (cp.async included) that TMA or wgmma will read
//   tma_load(to, map, b, c0, c1, c2, c3)    by one thread: a box at those coordinates, counted on b
//   tma_store(map, from, c0, c1, c2, c3), tma_store_commit(), tma_store_wait<N>()      by one thread
//   tma_store_wait_read<N>()        as tma_store_wait, but only until shared memory has been read
//   bulk_store(to, from, bytes), bulk_add(to, from, bytes)      by one thread: floats of shared memory replace those in
//       global memory, or are added to them; 16-byte aligned, a multiple of 16 bytes; committed and waited for like
//       tma_store
//   fence_proxy_async_global()      between ordinary accesses of global memory and those of TMA and bulk operations:
//       before other blocks are told that something was written, and after being told
//   wgmma_fence(), wgmma_commit(), wgmma_wait<N>()
//   compute_before_wait(x, word)    x >= 0 or NaN. Nothing happens, but to the compiler a store to `word`, in shared
//       memory, depends on x: what x is computed from stays before the next wgmma_wait. Without it ptxas moves
//       arithmetic that needs no product's result below the wait, and nothing runs beside that product.
//   claim_registers<N>(), release_registers<N>()        by a warpgroup: registers per thread from here on (setmaxnreg)
//   wgmma<N, TransposedB, Accumulate, TransposedA>(d, a, b)     by a warpgroup: d[64, N] += a[64, 16] · b, fp32 +=
//       bf16 · bf16; without Accumulate, =
//       d: N/2 registers; a: a descriptor, or the four registers of an mma fragment; b: a descriptor
//   matrix_descriptor(tile, leading_bytes, stride_bytes)      of a tile with 128-byte swizzle
//       K-major (rows of 64 elements of k; a, and b [N, K]): stride_bytes from 8 rows to the next 8, 1024 when dense;
//       leading_bytes unused. 16 further along k: 32 bytes further.
//       b TransposedB ([K, N], rows of 64 elements of n): stride_bytes from 8 rows of k to the next 8, leading_bytes
//       from 64 columns to the next 64. a TransposedA ([K, 64], rows of 64 elements of m): the same, leading_bytes
//       unused. (PTX ISA, "Asynchronous warpgroup level matrix shared memory layout")
#pragma once

#include "ops/cuda/device.cuh"
#include "ops/cuda/tensor_map.h"

#ifdef __CUDACC__
#include "ops/cuda/ptx_hopper.cuh"
#else
#include "ops/cuda/emulated/hopper.h"
#endif

namespace tsugi::dev {

/// A 64-bit descriptor for a tile at `address` (bytes in shared memory), 128-byte swizzle.
constexpr uint64_t encode_matrix_descriptor(uint32_t address, uint32_t leading_bytes, uint32_t stride_bytes) {
  const auto field = [](uint32_t bytes) { return static_cast<uint64_t>((bytes & 0x3FFFFu) >> 4); };
  return field(address) | field(leading_bytes) << 16 | field(stride_bytes) << 32 | uint64_t{1} << 62;
}

TSUGI_DEVICE uint64_t matrix_descriptor(const bf16* tile, uint32_t leading_bytes, uint32_t stride_bytes) {
  return encode_matrix_descriptor(shared_address(tile), leading_bytes, stride_bytes);
}

/// The descriptor of a tile `bytes` further. Only the low word is added to: addresses in shared memory do not carry out
/// of their field, and a sum of 64 bits is two instructions.
TSUGI_DEVICE uint64_t further(uint64_t descriptor, uint32_t bytes) {
  return (descriptor & ~uint64_t{0xFFFFFFFF}) | (static_cast<uint32_t>(descriptor) + (bytes >> 4));
}

}  // namespace tsugi::dev
