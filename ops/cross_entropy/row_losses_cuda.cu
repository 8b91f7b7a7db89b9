#include "ops/cross_entropy/row_losses_cuda.h"
#include "ops/cuda/device.cuh"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 512;

struct SumShared {
  dev::BlockScratch<double> scratch;
};

/// One block: rows are some thousands.
TSUGI_KERNEL(kThreads, 1)
sum_rows(const double* losses, const int32_t* targets, const int32_t* nearest, int64_t rows, DeviceRowSums* sums) {
  auto& s = dev::shared<SumShared>();
  double sum = 0.0, count = 0.0, right = 0.0;
  for (int64_t i = dev::thread_index(); i < rows; i += kThreads) {
    sum += dev::load(losses + i);
    count += targets != nullptr && dev::load(targets + i) < 0 ? 0.0 : 1.0;
    if (nearest != nullptr) right += static_cast<double>(dev::load(nearest + i));
  }
  sum = dev::block_sum(sum, s.scratch);
  count = dev::block_sum(count, s.scratch);
  right = dev::block_sum(right, s.scratch);
  if (dev::thread_index() != 0) return;
  DeviceRowSums total = dev::load(sums);
  total.loss.sum += sum;
  total.loss.count += static_cast<int64_t>(count);
  total.nearest += static_cast<int64_t>(right);
  dev::store(sums, total);
}

}  // namespace

void add_row_losses(Stream& stream, const double* losses, const int32_t* targets, const int32_t* nearest, int64_t rows,
                    DeviceRowSums* sums) {
  launch(stream, sum_rows, {{1, 1, 1}, kThreads, sizeof(SumShared)}, losses, targets, nearest, rows, sums);
}

}  // namespace tsugi::cuda
