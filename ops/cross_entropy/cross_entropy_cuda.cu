#include "ops/cross_entropy/cross_entropy_cuda.h"
#include "ops/cuda/device.cuh"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kMostThreads = 1024;
// Rows up to here are kept by two blocks on an SM of 228 KiB, of which each takes 1 KiB more.
constexpr int64_t kHalfShared = 113 * 1024;

struct RowShared {
  dev::BlockScratch<float> scratch;
};

/// A logit, or cap·tanh(x / cap). Plain: no term is added to the loss but for z_loss.
template <bool Plain>
TSUGI_DEVICE float logit_of(float x, float cap) {
  if constexpr (Plain) return x;
  return cap > 0.0f ? cap * dev::tanh(x / cap) : x;
}

/// What a thread has seen of a row: its maximum, the sum of exponentials relative to it and the sum.
struct Seen {
  float largest = -__builtin_huge_valf();
  float sum = 0.0f;
  float plain_sum = 0.0f;

  /// Takes the first `count` of every vector's elements.
  template <bool Plain, class T, int V, int N>
  TSUGI_DEVICE void take(const dev::Packed<T, V> (&loaded)[N], int count, float cap) {
    float values[N][V];
    float most = largest;
    TSUGI_UNROLL
    for (int n = 0; n < N; ++n) {
      const dev::Vector<T, V> vector = loaded[n].unpacked();
      TSUGI_UNROLL
      for (int i = 0; i < V; ++i) {
        values[n][i] = logit_of<Plain>(dev::to_float(vector[i]), cap);
        if (i >= count) continue;
        most = dev::maximum(most, values[n][i]);
        if constexpr (!Plain) plain_sum += values[n][i];
      }
    }
    if (largest != most) sum *= dev::exp(largest - most);
    largest = most;
    TSUGI_UNROLL
    for (int n = 0; n < N; ++n) {
      TSUGI_UNROLL
      for (int i = 0; i < V; ++i) {
        if (i < count) sum += dev::exp(values[n][i] - most);
      }
    }
  }
};

/// A block per row. Keep: the row is kept in shared memory between the passes; else it is read again, from its end,
/// which the L2 cache has seen last.
template <bool Keep, bool Plain, class T, int V, int Threads>
TSUGI_KERNEL(Threads, kMostThreads / Threads)
row_cross_entropy(CrossEntropyTerms terms, bool gradient, T* logits, const int32_t* targets, int64_t vocabulary,
                  int64_t columns, DeviceRowLoss* losses) {
  using Loaded = dev::Packed<T, V>;
  auto& s = dev::shared<RowShared>();
  const int64_t row = dev::block_index().x;
  const int target = dev::load(targets + row);
  T* const x = logits + row * columns;
  const int thread = dev::thread_index();
  const int vectors = static_cast<int>(columns / V);
  if (target < 0) {  // the whole block
    const dev::Vector<T, V> zero = {};
    for (int v = thread; gradient && v < vectors; v += Threads) dev::store_vector(x + int64_t{v} * V, zero);
    if (thread == 0) dev::store(losses + row, DeviceRowLoss{});
    return;
  }
  const float at_target = logit_of<Plain>(dev::to_float(dev::load(x + target)), terms.soft_cap);
  const auto load = [&](int v) {
    const Loaded loaded = dev::load_packed<V>(x + int64_t{v} * V);
    if constexpr (Keep) dev::shared_behind<RowShared, uint32_t>(vectors * 4).template store<4>(v * 4, loaded.data);
    return loaded;
  };
  const int whole = static_cast<int>(vocabulary / V);  // vectors without padding
  Seen seen;
  int v = thread;
  for (; v + Threads < whole; v += 2 * Threads) {
    const Loaded first = load(v), second = load(v + Threads);
    seen.take<Plain, T, V, 2>({first, second}, V, terms.soft_cap);
  }
  for (; v < whole; v += Threads) seen.take<Plain, T, V, 1>({load(v)}, V, terms.soft_cap);
  for (; v < vectors; v += Threads) {
    const Loaded loaded = load(v);
    const auto count = static_cast<int>(vocabulary - int64_t{v} * V);
    if (count > 0) seen.take<Plain, T, V, 1>({loaded}, count, terms.soft_cap);
  }
  const float most = dev::block_max(seen.largest, s.scratch);
  const float total = dev::block_sum(seen.sum == 0.0f ? 0.0f : seen.sum * dev::exp(seen.largest - most), s.scratch);
  const float smoothing = Plain ? 0.0f : terms.label_smoothing;
  float mean = 0.0f;
  if (smoothing > 0.0f) mean = dev::block_sum(seen.plain_sum, s.scratch) / static_cast<float>(vocabulary);
  const float log_sum = dev::log(total);
  const float log_z = log_sum + most;
  if (thread == 0) {
    DeviceRowLoss loss;
    loss.nll = log_sum + (most - at_target);
    loss.z_loss = terms.z_loss * log_z * log_z;
    loss.smoothing = smoothing > 0.0f ? smoothing * (log_z - mean - loss.nll) : 0.0f;
    dev::store(losses + row, loss);
  }
  if (!gradient) return;
  const float scale = (1.0f + 2.0f * terms.z_loss * log_z) / total;
  const float everywhere = smoothing / static_cast<float>(vocabulary);
  const auto again = [&](int at) -> Loaded {
    if constexpr (Keep) return {dev::shared_behind<RowShared, uint32_t>(vectors * 4).template load<4>(at * 4)};
    return dev::load_packed<V>(x + int64_t{at} * V);
  };
  if (thread >= vectors) return;
  v = thread + (vectors - 1 - thread) / Threads * Threads;
  Loaded next = again(v);
  for (; v >= 0; v -= Threads) {
    dev::Vector<T, V> values = next.unpacked();
    if (v >= Threads) next = again(v - Threads);
    const int first = v * V;
    const bool plain = v < whole && (target < first || target >= first + V);
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) {
      const float value = logit_of<Plain>(dev::to_float(values[i]), terms.soft_cap);
      float d = dev::exp(value - most) * scale - everywhere;
      if (!plain && first + i == target) d -= 1.0f - smoothing;
      if (!Plain && terms.soft_cap > 0.0f) {
        const float ratio = value / terms.soft_cap;
        d *= 1.0f - ratio * ratio;
      }
      values[i] = dev::round_to<T>(plain || first + i < vocabulary ? d : 0.0f);
    }
    dev::store_vector(x + first, values);
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
    const bool plain = terms.soft_cap == 0.0f && terms.label_smoothing == 0.0f;
    const auto go = [&](auto kernel, unsigned threads, int64_t bytes) {
      launch(stream, kernel, {{static_cast<unsigned>(rows), 1, 1}, threads, static_cast<unsigned>(bytes)}, terms,
             gradient, static_cast<T*>(logits), targets, vocabulary, columns, losses);
    };
    const int64_t kept = static_cast<int64_t>(sizeof(RowShared)) + columns * static_cast<int64_t>(sizeof(T));
    if (columns % kV != 0) {
      go(row_cross_entropy<false, false, T, 1, kThreads>, kThreads, sizeof(RowShared));
    } else if (kept <= kHalfShared) {
      go(plain ? row_cross_entropy<true, true, T, kV, kThreads> : row_cross_entropy<true, false, T, kV, kThreads>,
         kThreads, kept);
    } else if (kept <= int64_t{cuda_limits::kSharedBytesSm80}) {
      go(plain ? row_cross_entropy<true, true, T, kV, kMostThreads>
               : row_cross_entropy<true, false, T, kV, kMostThreads>,
         kMostThreads, kept);
    } else {
      go(plain ? row_cross_entropy<false, true, T, kV, kMostThreads>
               : row_cross_entropy<false, false, T, kV, kMostThreads>,
         kMostThreads, sizeof(RowShared));
    }
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
