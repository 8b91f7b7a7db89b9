// The size of a launch.
#pragma once

namespace tsugi {

/// Three indices or extents.
struct Index3 {
  unsigned x = 0;
  unsigned y = 0;
  unsigned z = 0;
};

namespace cuda_limits {
inline constexpr unsigned kWarp = 32;
inline constexpr unsigned kThreads = 1024;                ///< of a block
inline constexpr unsigned kSharedBytes = 227 * 1024;      ///< of a block on sm_90
inline constexpr unsigned kSharedBytesSm80 = 163 * 1024;  ///< of a block on sm_80
}  // namespace cuda_limits

/// A grid of blocks of `threads` threads, a multiple of 32, with `shared_bytes` of shared memory each.
struct LaunchSize {
  Index3 grid{1, 1, 1};
  unsigned threads = cuda_limits::kWarp;
  unsigned shared_bytes = 0;
};

}  // namespace tsugi
