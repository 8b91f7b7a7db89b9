// The device layer: what kernels are written over. Under nvcc its functions are PTX instructions (ptx.cuh), elsewhere
// an emulator that runs a fiber per thread and checks what hardware would not (emulated/device.h).
//
// Both sides provide, in namespace tsugi::dev:
//   TSUGI_KERNEL(threads, blocks)   a kernel for `threads` threads, of which `blocks` blocks shall fit on an SM
//   TSUGI_DEVICE                    a function called by kernels
//   TSUGI_UNROLL                    before a loop over a register array: its indices must be constants
//   thread_index, lane_index, warp_index, block_threads, block_index, grid_size
//   load, store, load_vector<N>, store_vector                   global memory
//   load_words                                                  its 16 bytes, in the order of the program
//   shared<T>, SharedArray<T, N>                                shared memory of the block: one struct T
//   shared_behind<S, T>                                         … and a SharedSpan<T> of the launch's size behind it
//   sync_threads, sync_warp, barrier_sync, barrier_arrive       barriers; executed by whole warps
//   shuffle, shuffle_xor, ballot, match_any                     between the lanes of a warp
//   popcount                                                    of 32 bits
//   ldmatrix_x4, ldmatrix_x4_transposed, mma_m16n8k16           tensor cores
//   copy_async_16, copy_async_commit, copy_async_wait<N>        cp.async
//   load_acquire, store_release, atomic_add, spin_until         between blocks
//   exp2, log2, erfc, tanh, rsqrt, sqrt, fma, maximum           fp32
//   divide                                                      approximate, for |divisors| in [2^-126, 2^126]
//   exp, log, log1p, sqrt                                       of doubles
//   lowest_bit                                                  the number of the lowest bit of x != 0 that is set
// Below: what is built from them.
#pragma once

#include <type_traits>

#include "ops/cuda/launch_size.h"
#include "ops/cuda/vector.h"
#include "ops/tensor/dtype.h"

#ifdef __CUDACC__
#include "ops/cuda/ptx.cuh"
#else
#include "ops/cuda/emulated/device.h"
#endif

namespace tsugi::dev {

TSUGI_DEVICE float to_float(float x) { return x; }
TSUGI_DEVICE float to_float(bf16 x) { return bits_to_float(static_cast<uint32_t>(x.bits) << 16); }

/// x rounded to T.
template <class T>
TSUGI_DEVICE T round_to(float x) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return x;
  } else {
    return to_bf16(x);
  }
}

/// A vector as it lies in memory. nvcc takes the elements of load_vector apart behind each load, and waits there for
/// it; these are taken apart where they are unpacked: until then more loads can be under way.
template <class T, int N>
struct Packed {
  static constexpr bool kWords = sizeof(T) * N == sizeof(Words);
  std::conditional_t<kWords, Words, Vector<T, N>> data;

  TSUGI_DEVICE Vector<T, N> unpacked() const {
    Vector<T, N> result;
    __builtin_memcpy(static_cast<void*>(&result), &data, sizeof(result));
    return result;
  }
};

template <int N, class T>
TSUGI_DEVICE Packed<T, N> load_packed(const T* address) {
  if constexpr (Packed<T, N>::kWords) {
    return {load_words(address)};
  } else {
    return {load_vector<N>(address)};
  }
}

/// Two bf16 in a register, the first in the low half: what mma fragments are made of.
TSUGI_DEVICE uint32_t pack(float low, float high) {
  return static_cast<uint32_t>(to_bf16(low).bits) | (static_cast<uint32_t>(to_bf16(high).bits) << 16);
}

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

TSUGI_DEVICE float exp(float x) { return exp2(x * kLog2E); }
TSUGI_DEVICE float log(float x) { return log2(x) * kLn2; }

/// The sum over the warp, the same bits in every lane: a tree over the lane numbers.
template <class T>
TSUGI_DEVICE T warp_sum(T x) {
  for (int mask = 16; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
  return x;
}

TSUGI_DEVICE float warp_max(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x = maximum(x, shuffle_xor(x, mask));
  return x;
}

/// Scratch of the block reductions, one slot per warp.
template <class T>
using BlockScratch = SharedArray<T, 32>;

/// The sum over the block, the same bits in every thread. To be called by all threads; synchronises them on entry and
/// before the result is read, so that the scratch may be used again at once.
template <class T>
TSUGI_DEVICE T block_sum(T x, BlockScratch<T>& scratch) {
  x = warp_sum(x);
  sync_threads();
  if (lane_index() == 0) scratch[warp_index()] = x;
  sync_threads();
  T slot = 0;
  if (lane_index() < block_threads() / 32) slot = scratch[lane_index()];
  return warp_sum(slot);
}

TSUGI_DEVICE float block_max(float x, BlockScratch<float>& scratch) {
  x = warp_max(x);
  sync_threads();
  if (lane_index() == 0) scratch[warp_index()] = x;
  sync_threads();
  const int warps = block_threads() / 32;
  // Every warp's maximum is that of some slot: repeating the last one changes nothing.
  return warp_max(scratch[lane_index() < warps ? lane_index() : warps - 1]);
}

}  // namespace tsugi::dev
