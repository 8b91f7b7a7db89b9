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

struct Range {
  int64_t begin, end;
};

/// The columns of a bucket: distances of one bucket are neighbours.
TSUGI_DEVICE Range columns_of(const DeviceBuckets& buckets, int bucket, int64_t columns, int64_t key_tokens) {
  const bool behind = buckets.both && bucket >= buckets.half;
  const int at = behind ? bucket - buckets.half : bucket;
  const int64_t least = at == 0 ? 0 : buckets.starts[at];
  const bool last = at + 1 >= buckets.half;
  const int64_t beyond = last ? columns + 1 : buckets.starts[at + 1];
  int64_t begin = 0, end = 0;  // distances
  if (behind) {
    begin = least > 0 ? least : 1;
    end = beyond;
  } else {
    begin = 1 - beyond;
    end = !buckets.both && least == 0 && beyond > 0 ? columns + 1 : 1 - least;  // one side: all behind are as near as 0
  }
  begin += key_tokens - 1;
  end += key_tokens - 1;
  return {begin > 0 ? begin : 0, end < columns ? end : columns};
}

/// A warp per number of the table: its lanes load 32 columns at a time, and every lane adds them in order.
TSUGI_KERNEL(kThreads, 8)
collect(DeviceBuckets buckets, const float* d_bias, int64_t heads, int64_t columns, int64_t key_tokens,
        float* d_table) {
  const int64_t i = static_cast<int64_t>(dev::block_index().x) * (kThreads / 32) + dev::warp_index();
  if (i >= buckets.count * heads) return;  // a whole warp
  const float* const row = d_bias + i % heads * columns;
  const Range range = columns_of(buckets, static_cast<int>(i / heads), columns, key_tokens);
  const auto load = [&](int64_t first) {
    const int64_t c = first + dev::lane_index();
    return c < range.end ? dev::load(row + c) : 0.0f;
  };
  float sum = dev::load(d_table + i);
  float next = load(range.begin);
  for (int64_t first = range.begin; first < range.end; first += 32) {
    const float values = next;
    next = load(first + 32);
    const int count = range.end - first < 32 ? static_cast<int>(range.end - first) : 32;
    for (int lane = 0; lane < count; ++lane) sum += dev::shuffle(values, lane);
  }
  if (dev::lane_index() == 0) dev::store(d_table + i, sum);
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
  launch(stream, collect, {{blocks_of(buckets.count * heads * 32), 1, 1}, kThreads, 0}, buckets, d_bias, heads, columns,
         key_tokens, d_table);
}

}  // namespace tsugi::cuda
