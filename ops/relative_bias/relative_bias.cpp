#include "ops/relative_bias/relative_bias.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace tsugi {
namespace {

void check_relative_bias(const RelativeBuckets& buckets, const Tensor& table, int64_t key_tokens, const Tensor& bias) {
  CHECK(buckets.exact() >= 1 && buckets.exact() < buckets.max_distance) << buckets.buckets;
  CHECK((table.shape() == Shape{buckets.buckets, bias.shape()[0]})) << table.shape().to_string();
  CHECK(bias.dtype() == DType::kF32) << name_of(bias.dtype());
  CHECK(key_tokens >= 1 && key_tokens <= bias.shape()[1]) << key_tokens;
}

}  // namespace

int64_t RelativeBuckets::bucket_of(int64_t distance) const {
  const int64_t half = bidirectional ? buckets / 2 : buckets;
  const int64_t first = bidirectional && distance > 0 ? half : 0;
  const int64_t away = bidirectional ? std::abs(distance) : std::max<int64_t>(-distance, 0);
  if (away < exact()) return first + away;
  const auto least = static_cast<float>(exact());
  const float steps = std::log(static_cast<float>(away) / least) /
                      static_cast<float>(std::log(static_cast<double>(max_distance) / static_cast<double>(exact()))) *
                      static_cast<float>(half - exact());
  return first + std::min(exact() + static_cast<int64_t>(steps), half - 1);
}

void relative_bias_forward(const Context& context, const RelativeBuckets& buckets, const Tensor& table,
                           int64_t key_tokens, const Tensor& bias) {
  check_relative_bias(buckets, table, key_tokens, bias);
  if (DeviceOperators* device = context.operators()) {
    return device->relative_bias_forward(context, buckets, table, key_tokens, bias);
  }
  if (context.meta()) return;
  const int64_t heads = bias.shape()[0];
  const int64_t columns = bias.shape()[1];
  dispatch_compute_type(table.dtype(), [&]<class T>(T) {
    for (int64_t c = 0; c < columns; ++c) {
      const T* const row = table.data<T>() + buckets.bucket_of(c - (key_tokens - 1)) * heads;
      for (int64_t h = 0; h < heads; ++h) bias.data<float>()[h * columns + c] = static_cast<float>(row[h]);
    }
  });
}

void relative_bias_backward(const Context& context, const RelativeBuckets& buckets, const Tensor& d_bias,
                            int64_t key_tokens, const Tensor& d_table) {
  check_relative_bias(buckets, d_table, key_tokens, d_bias);
  CHECK(d_table.dtype() == DType::kF32) << name_of(d_table.dtype());
  if (DeviceOperators* device = context.operators()) {
    return device->relative_bias_backward(context, buckets, d_bias, key_tokens, d_table);
  }
  if (context.meta()) return;
  const int64_t heads = d_bias.shape()[0];
  const int64_t columns = d_bias.shape()[1];
  for (int64_t c = 0; c < columns; ++c) {
    float* const row = d_table.data<float>() + buckets.bucket_of(c - (key_tokens - 1)) * heads;
    for (int64_t h = 0; h < heads; ++h) row[h] += d_bias.data<float>()[h * columns + c];
  }
}

}  // namespace tsugi
