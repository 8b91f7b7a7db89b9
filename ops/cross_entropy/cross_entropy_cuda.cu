#include "ops/cross_entropy/cross_entropy_cuda.h"
#include "ops/cuda/device.cuh"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 512;

struct RowShared {
  dev::BlockScratch<float> scratch;
};

/// A block per row.
template <class T, int V>
TSUGI_KERNEL(kThreads, 2)
row_cross_entropy(T* logits, const int32_t* targets, int64_t vocabulary, int64_t columns, float* losses) {
  auto& s = dev::shared<RowShared>();
  const int64_t row = dev::block_index().x;
  const int64_t target = dev::load(targets + row);
  T* x = logits + row * columns;
  const int64_t begin = static_cast<int64_t>(dev::thread_index()) * V;
  constexpr int64_t kStep = int64_t{kThreads} * V;
  if (target < 0) {  // the whole block
    const dev::Vector<T, V> zero = {};
    for (int64_t c = begin; c < columns; c += kStep) dev::store_vector(x + c, zero);
    if (dev::thread_index() == 0) dev::store(losses + row, 0.0f);
    return;
  }
  // Every thread keeps the maximum of what it has seen and the sum of exponentials relative to it.
  float largest = -__builtin_huge_valf();
  float sum = 0.0f;
  for (int64_t c = begin; c < vocabulary; c += kStep) {
    const dev::Vector<T, V> values = dev::load_vector<V>(x + c);
    float most = largest;
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) {
      if (c + i < vocabulary) most = dev::maximum(most, dev::to_float(values[i]));
    }
    sum = largest == most ? sum : sum * dev::exp(largest - most);
    largest = most;
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) {
      if (c + i < vocabulary) sum += dev::exp(dev::to_float(values[i]) - largest);
    }
  }
  const float most = dev::block_max(largest, s.scratch);
  const float total = dev::block_sum(sum == 0.0f ? 0.0f : sum * dev::exp(largest - most), s.scratch);
  if (dev::thread_index() == 0) {
    dev::store(losses + row, dev::log(total) + (most - dev::to_float(dev::load(x + target))));
  }
  dev::sync_threads();  // the target's logit is read before it is overwritten
  const float scale = 1.0f / total;
  for (int64_t c = begin; c < columns; c += kStep) {
    dev::Vector<T, V> values = dev::load_vector<V>(x + c);
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) {
      const float p = c + i < vocabulary ? dev::exp(dev::to_float(values[i]) - most) * scale : 0.0f;
      values[i] = dev::round_to<T>(c + i == target ? p - 1.0f : p);
    }
    dev::store_vector(x + c, values);
  }
}

struct LossShared {
  dev::BlockScratch<double> scratch;
};

TSUGI_KERNEL(kThreads, 1)
sum_losses(const float* losses, const int32_t* targets, int64_t rows, DeviceLossSum* result) {
  auto& s = dev::shared<LossShared>();
  double sum = 0.0, count = 0.0;
  for (int64_t i = dev::thread_index(); i < rows; i += kThreads) {
    if (dev::load(targets + i) < 0) continue;
    sum += static_cast<double>(dev::load(losses + i));
    count += 1.0;
  }
  sum = dev::block_sum(sum, s.scratch);
  count = dev::block_sum(count, s.scratch);
  if (dev::thread_index() != 0) return;
  dev::store(&result->sum, dev::load(&result->sum) + sum);
  dev::store(&result->count, dev::load(&result->count) + static_cast<int64_t>(count));
}

}  // namespace

void softmax_cross_entropy(Stream& stream, DType type, void* logits, const int32_t* targets, int64_t rows,
                           int64_t vocabulary, int64_t columns, float* losses) {
  dispatch_compute_type(type, [&]<class T>(T) {
    constexpr int kV = dev::kVectorElements<T>;
    launch(stream, columns % kV == 0 ? row_cross_entropy<T, kV> : row_cross_entropy<T, 1>,
           {{static_cast<unsigned>(rows), 1, 1}, kThreads, sizeof(RowShared)}, static_cast<T*>(logits), targets,
           vocabulary, columns, losses);
  });
}

void add_losses(Stream& stream, const float* losses, const int32_t* targets, int64_t rows, DeviceLossSum* sum) {
  launch(stream, sum_losses, {{1, 1, 1}, kThreads, sizeof(LossShared)}, losses, targets, rows, sum);
}

}  // namespace tsugi::cuda
