// Tensor maps: how the asynchronous engine (TMA) sees an array in global memory.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#include <cuda.h>
#define TSUGI_GRID_CONSTANT const __grid_constant__
#else
#define TSUGI_GRID_CONSTANT const
#endif

namespace tsugi::dev {

#ifdef __CUDACC__
using TensorMap = CUtensorMap;
#else
struct TensorMap {
  const void* base = nullptr;
  int64_t extents[4] = {};
  int64_t strides[4] = {};  // in bytes
  int box[4] = {};
  bool swizzled = false;
};
#endif

}  // namespace tsugi::dev

namespace tsugi::cuda {

/// A bf16 array of four dimensions, the innermost (contiguous) one first. A transfer moves box[0] × … × box[3]
/// elements, densely packed in shared memory; what lies outside the extents reads as zero and is not written.
struct TensorMapOptions {
  const void* base = nullptr;  ///< 16-byte aligned
  int64_t extents[4] = {1, 1, 1, 1};
  int64_t strides[4] = {};    ///< in elements, multiples of 8; strides[0] is 1
  int box[4] = {1, 1, 1, 1};  ///< each at most 256
  /// 128-byte swizzle: box[0] is 64, the tile starts at a multiple of 1024 bytes, and its 16-byte chunk c of row r lies
  /// at chunk c ^ (r % 8).
  bool swizzled = true;
};

/// Throws (Error, or Fault in the emulator) if the hardware cannot do it.
dev::TensorMap make_tensor_map(const TensorMapOptions& options);

}  // namespace tsugi::cuda
