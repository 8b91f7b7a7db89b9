#include "ops/cuda/device.cuh"
#include "ops/relative_bias/relative_bias_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 128;

TSUGI_DEVICE int bucket_of(const DeviceBuckets& buckets, int64_t distance) {
  const bool behind = buckets.both && distance > 0;
  const int64_t away = behind || distance < 0 ? (distance < 0 ? -distance : distance) : 0;
  int bucket = 0;  // the last whose least distance is reached
  for (int step = kMostRelativeBuckets / 2; step > 0; step /= 2) {
    if (bucket + step < buckets.half && buckets.starts[bucket + step] <= away) bucket += step;
  }
  return (behind ? buckets.half : 0) + bucket;
}

template <class T>
TSUGI_KERNEL(kThreads, 8)
spread(DeviceBuckets buckets, const T* table, int64_t heads, int64_t columns, int64_t key_tokens, float* bias) {
  const int64_t i = static_cast<int64_t>(dev::block_index().x) * kThreads + dev::thread_index();
  if (i >= heads * columns) return;
  const int bucket = bucket_of(buckets, i % columns - (key_tokens - 1));
  dev::store(bias + i, dev::to_float(dev::load(table + bucket * heads + i / columns)));
}

/// A thread per number of the table: there are a few hundred.
TSUGI_KERNEL(kThreads, 8)
collect(DeviceBuckets buckets, const float* d_bias, int64_t heads, int64_t columns, int64_t key_tokens,
        float* d_table) {
  const int64_t i = static_cast<int64_t>(dev::block_index().x) * kThreads + dev::thread_index();
  if (i >= buckets.count * heads) return;
  const float* const row = d_bias + i % heads * columns;
  float sum = dev::load(d_table + i);
  for (int64_t c = 0; c < columns; ++c) {
    if (bucket_of(buckets, c - (key_tokens - 1)) == i / heads) sum += dev::load(row + c);
  }
  dev::store(d_table + i, sum);
}

unsigned blocks_of(int64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

}  // namespace

void relative_bias_forward(Stream& stream, const DeviceBuckets& buckets, DType type, const void* table, int64_t heads,
                           int64_t columns, int64_t key_tokens, float* bias) {
  dispatch_compute_type(type, [&]<class T>(T) {
    launch(stream, spread<T>, {{blocks_of(heads * columns), 1, 1}, kThreads, 0}, buckets, static_cast<const T*>(table),
           heads, columns, key_tokens, bias);
  });
}

void relative_bias_backward(Stream& stream, const DeviceBuckets& buckets, const float* d_bias, int64_t heads,
                            int64_t columns, int64_t key_tokens, float* d_table) {
  launch(stream, collect, {{blocks_of(buckets.count * heads), 1, 1}, kThreads, 0}, buckets, d_bias, heads, columns,
         key_tokens, d_table);
}

}  // namespace tsugi::cuda
