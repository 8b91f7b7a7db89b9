#include "ops/cuda/operators.h"
#include "ops/relative_bias/relative_bias.h"
#include "ops/relative_bias/relative_bias_cuda.h"

namespace tsugi::cuda {
namespace {

/// Bounds of the buckets as the CPU has them, so that both agree about every distance.
DeviceBuckets device_buckets(const RelativeBuckets& buckets) {
  if (buckets.buckets > kMostRelativeBuckets) {
    refuse("positions by distance in more than " + std::to_string(kMostRelativeBuckets) + " buckets",
           "set compute.device: CPU");
  }
  DeviceBuckets result;
  result.count = static_cast<int>(buckets.buckets);
  result.both = buckets.bidirectional;
  result.half = result.both ? result.count / 2 : result.count;
  int known = 1;  // the first begins at 0
  for (int64_t away = 1; known < result.half && away <= buckets.max_distance; ++away) {
    while (known <= buckets.bucket_of(-away)) result.starts[known++] = static_cast<int>(away);
  }
  CHECK_EQ(known, result.half) << "buckets that no distance reaches";
  return result;
}

}  // namespace

void Operators::relative_bias_forward(const Context& context, const RelativeBuckets& buckets, const Tensor& table,
                                      int64_t key_tokens, const Tensor& bias) {
  const DeviceBuckets on_device = device_buckets(buckets);
  if (context.meta()) return;
  cuda::relative_bias_forward(stream(), on_device, table.dtype(), pointer<void>(table), bias.shape()[0],
                              bias.shape()[1], key_tokens, pointer<float>(bias));
}

void Operators::relative_bias_backward(const Context& context, const RelativeBuckets& buckets, const Tensor& d_bias,
                                       int64_t key_tokens, const Tensor& d_table) {
  const DeviceBuckets on_device = device_buckets(buckets);
  if (context.meta()) return;
  cuda::relative_bias_backward(stream(), on_device, pointer<float>(d_bias), d_bias.shape()[0], d_bias.shape()[1],
                               key_tokens, pointer<float>(d_table));
}

}  // namespace tsugi::cuda
