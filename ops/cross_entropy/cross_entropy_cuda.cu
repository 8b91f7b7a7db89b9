#include "ops/cross_entropy/cross_entropy_cuda.h"
#include "ops/cuda/device.cuh"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 512;

struct RowShared {
  dev::BlockScratch<float> scratch;
};

/// cap·tanh(x / cap), or x itself.
TSUGI_DEVICE float capped(float x, float cap) { return cap > 0.0f ? cap * dev::tanh(x / cap) : x; }

/// A block per row.
template <class T, int V>
TSUGI_KERNEL(kThreads, 2)
row_cross_entropy(CrossEntropyTerms terms, bool gradient, T* logits, const int32_t* targets, int64_t vocabulary,
                  int64_t columns, DeviceRowLoss* losses) {
  auto& s = dev::shared<RowShared>();
  const int64_t row = dev::block_index().x;
  const int64_t target = dev::load(targets + row);
  T* x = logits + row * columns;
  const int64_t begin = static_cast<int64_t>(dev::thread_index()) * V;
  constexpr int64_t kStep = int64_t{kThreads} * V;
  if (target < 0) {  // the whole block
    const dev::Vector<T, V> zero = {};
    for (int64_t c = begin; gradient && c < columns; c += kStep) dev::store_vector(x + c, zero);
    if (dev::thread_index() == 0) dev::store(losses + row, DeviceRowLoss{});
    return;
  }
  // Every thread keeps the maximum of what it has seen and the sum of exponentials relative to it.
  float largest = -__builtin_huge_valf();
  float sum = 0.0f;
  float plain_sum = 0.0f;
  for (int64_t c = begin; c < vocabulary; c += kStep) {
    const dev::Vector<T, V> loaded = dev::load_vector<V>(x + c);
    float values[V];
    float most = largest;
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) {
      values[i] = capped(dev::to_float(loaded[i]), terms.soft_cap);
      if (c + i >= vocabulary) continue;
      most = dev::maximum(most, values[i]);
      plain_sum += values[i];
    }
    sum = largest == most ? sum : sum * dev::exp(largest - most);
    largest = most;
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) {
      if (c + i < vocabulary) sum += dev::exp(values[i] - largest);
    }
  }
  const float most = dev::block_max(largest, s.scratch);
  const float total = dev::block_sum(sum == 0.0f ? 0.0f : sum * dev::exp(largest - most), s.scratch);
  const float smoothing = terms.label_smoothing;
  const float mean = smoothing > 0.0f ? dev::block_sum(plain_sum, s.scratch) / static_cast<float>(vocabulary) : 0.0f;
  const float log_sum = dev::log(total);
  const float log_z = log_sum + most;
  if (dev::thread_index() == 0) {
    DeviceRowLoss loss;
    loss.nll = log_sum + (most - capped(dev::to_float(dev::load(x + target)), terms.soft_cap));
    loss.z_loss = terms.z_loss * log_z * log_z;
    loss.smoothing = smoothing > 0.0f ? smoothing * (log_z - mean - loss.nll) : 0.0f;
    dev::store(losses + row, loss);
  }
  if (!gradient) return;
  dev::sync_threads();  // the target's logit is read before it is overwritten
  const float scale = (1.0f + 2.0f * terms.z_loss * log_z) / total;
  const float everywhere = smoothing / static_cast<float>(vocabulary);
  const float at_target = 1.0f - smoothing;
  for (int64_t c = begin; c < columns; c += kStep) {
    dev::Vector<T, V> values = dev::load_vector<V>(x + c);
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) {
      const float value = capped(dev::to_float(values[i]), terms.soft_cap);
      float d = dev::exp(value - most) * scale - everywhere;
      if (c + i == target) d -= at_target;
      if (terms.soft_cap > 0.0f) {
        const float ratio = value / terms.soft_cap;
        d *= 1.0f - ratio * ratio;
      }
      values[i] = dev::round_to<T>(c + i < vocabulary ? d : 0.0f);
    }
    dev::store_vector(x + c, values);
  }
}

struct LossShared {
  dev::BlockScratch<double> scratch;
};

TSUGI_KERNEL(kThreads, 1)
sum_losses(const DeviceRowLoss* losses, const int32_t* targets, int64_t rows, DeviceLossSum* result, float* row_loss) {
  auto& s = dev::shared<LossShared>();
  double sum = 0.0, count = 0.0, z_loss = 0.0, smoothing = 0.0;
  for (int64_t i = dev::thread_index(); i < rows; i += kThreads) {
    const DeviceRowLoss loss = dev::load(losses + i);
    sum += static_cast<double>(loss.nll);
    z_loss += static_cast<double>(loss.z_loss);
    smoothing += static_cast<double>(loss.smoothing);
    count += dev::load(targets + i) < 0 ? 0.0 : 1.0;
    if (row_loss != nullptr) dev::store(row_loss + i, loss.nll);
  }
  sum = dev::block_sum(sum, s.scratch);
  count = dev::block_sum(count, s.scratch);
  z_loss = dev::block_sum(z_loss, s.scratch);
  smoothing = dev::block_sum(smoothing, s.scratch);
  if (dev::thread_index() != 0) return;
  DeviceLossSum total = dev::load(result);
  total.sum += sum;
  total.count += static_cast<int64_t>(count);
  total.z_loss += z_loss;
  total.smoothing += smoothing;
  dev::store(result, total);
}

TSUGI_KERNEL(32, 1)
keep(const DeviceLossSum* sum, double* slot) {
  if (dev::thread_index() != 0) return;
  dev::store(slot, dev::load(&sum->sum));
  dev::store(slot + 1, static_cast<double>(dev::load(&sum->count)));
}

}  // namespace

void softmax_cross_entropy(Stream& stream, DType type, const CrossEntropyTerms& terms, bool gradient, void* logits,
                           const int32_t* targets, int64_t rows, int64_t vocabulary, int64_t columns,
                           DeviceRowLoss* losses) {
  dispatch_compute_type(type, [&]<class T>(T) {
    constexpr int kV = dev::kVectorElements<T>;
    launch(stream, columns % kV == 0 ? row_cross_entropy<T, kV> : row_cross_entropy<T, 1>,
           {{static_cast<unsigned>(rows), 1, 1}, kThreads, sizeof(RowShared)}, terms, gradient, static_cast<T*>(logits),
           targets, vocabulary, columns, losses);
  });
}

void add_losses(Stream& stream, const DeviceRowLoss* losses, const int32_t* targets, int64_t rows, DeviceLossSum* sum,
                float* row_loss) {
  launch(stream, sum_losses, {{1, 1, 1}, kThreads, sizeof(LossShared)}, losses, targets, rows, sum, row_loss);
}

void keep_loss(Stream& stream, const DeviceLossSum* sum, double* slot) {
  launch(stream, keep, {{1, 1, 1}, 32, 0}, sum, slot);
}

}  // namespace tsugi::cuda
