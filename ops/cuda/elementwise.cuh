// One thread per 16 bytes: kernels that map elements to elements.
#pragma once

#include "ops/cuda/device.cuh"
#include "ops/cuda/runtime.h"

namespace tsugi::cuda {

inline constexpr int kElementwiseThreads = 256;

/// `body.template operator()<V>(i)` handles elements [i, i + V): V = Width inside, 1 at the end.
template <int Width, class Body>
TSUGI_KERNEL(kElementwiseThreads, 4)
elementwise(Body body, int64_t count) {
  const int64_t thread = static_cast<int64_t>(dev::block_index().x) * kElementwiseThreads + dev::thread_index();
  const int64_t begin = thread * Width;
  if (begin + Width <= count) {
    body.template run<Width>(begin);
  } else {
    for (int64_t i = begin; i < count; ++i) body.template run<1>(i);
  }
}

/// Runs the body over [0, count). Arrays must be 16-byte aligned.
template <int Width, class Body>
void launch_elementwise(Stream& stream, const Body& body, int64_t count) {
  constexpr int64_t kPerBlock = int64_t{kElementwiseThreads} * Width;
  const auto blocks = static_cast<unsigned>((count + kPerBlock - 1) / kPerBlock);
  if (blocks > 0) launch(stream, elementwise<Width, Body>, {{blocks, 1, 1}, kElementwiseThreads, 0}, body, count);
}

}  // namespace tsugi::cuda
