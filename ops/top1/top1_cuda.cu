#include "ops/cuda/device.cuh"
#include "ops/top1/top1_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kAhead = 8;  // loads of a thread under way

struct Shared {
  dev::BlockScratch<int> scratch;
};

TSUGI_KERNEL(kThreads, 8)
compare(const float* scores, const int32_t* targets, int64_t columns, int64_t classes, int32_t* right) {
  auto& s = dev::shared<Shared>();
  const int64_t row = dev::block_index().x;
  const float* const x = scores + row * columns;
  const int64_t target = dev::load(targets + row);
  if (target < 0 || target >= classes) {  // the whole block
    if (dev::thread_index() == 0) dev::store(right + row, 0);
    return;
  }
  const float own = dev::load(x + target);
  int better = 0;
  for (int64_t first = dev::thread_index(); first < classes; first += kThreads * kAhead) {
    float values[kAhead];
    TSUGI_UNROLL
    for (int j = 0; j < kAhead; ++j) {
      const int64_t c = first + j * kThreads;
      values[j] = dev::load(x + (c < classes ? c : target));
    }
    TSUGI_UNROLL
    for (int j = 0; j < kAhead; ++j) {
      const bool below = first + j * kThreads < target ? own > values[j] : own >= values[j];
      if (!below) better = 1;
    }
  }
  better = dev::block_sum(better, s.scratch);
  if (dev::thread_index() == 0) dev::store(right + row, better == 0 ? 1 : 0);
}

}  // namespace

void top1(Stream& stream, const float* scores, const int32_t* targets, int64_t rows, int64_t columns, int64_t classes,
          int32_t* right) {
  if (rows == 0) return;
  launch(stream, compare, {{static_cast<unsigned>(rows), 1, 1}, kThreads, sizeof(Shared)}, scores, targets, columns,
         classes, right);
}

}  // namespace tsugi::cuda
