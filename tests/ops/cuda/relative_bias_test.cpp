// T5's numbers by distance, beside the CPU: the same bits.
#include "ops/relative_bias/relative_bias.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/base/error.h"
#include "tests/ops/cuda/context.h"

namespace tsugi {
namespace {

using testing::random_values;
using testing::to_doubles;
using testing::to_tensor;

class CudaRelativeBias : public testing::OnCuda {};

TEST_F(CudaRelativeBias, HasTheBitsOfTheCpu) {
  constexpr int64_t kHeads = 3;
  for (const RelativeBuckets& buckets :
       {RelativeBuckets{}, RelativeBuckets{.bidirectional = false}, RelativeBuckets{.buckets = 6, .max_distance = 11},
        RelativeBuckets{.buckets = 128, .max_distance = 900, .bidirectional = false}}) {
    for (const auto& [queries, keys] : {std::pair<int64_t, int64_t>{300, 300}, {1, 40}, {40, 1}, {70, 160}}) {
      const int64_t columns = keys + queries - 1;
      for (const DType type : {DType::kF32, DType::kBF16}) {
        std::vector<double> table = random_values(buckets.buckets * kHeads, 1);
        std::vector<double> d_bias = random_values(kHeads * columns, 2);
        std::vector<double> before = random_values(buckets.buckets * kHeads, 3);
        const Context& host = cuda().host.context;
        const Tensor bias = host.empty({kHeads, columns}, DType::kF32);
        relative_bias_forward(host, buckets, to_tensor(cuda().host, table, {buckets.buckets, kHeads}, type), keys,
                              bias);
        const Tensor on_device = cuda().context.empty({kHeads, columns}, DType::kF32);
        relative_bias_forward(cuda().context, buckets, cuda().upload(table, {buckets.buckets, kHeads}, type), keys,
                              on_device);
        EXPECT_EQ(cuda().read(on_device), to_doubles(bias));

        const Tensor d_table = to_tensor(cuda().host, before, {buckets.buckets, kHeads}, DType::kF32);
        const Tensor d_table_there = cuda().upload(before, {buckets.buckets, kHeads}, DType::kF32);
        relative_bias_backward(host, buckets, to_tensor(cuda().host, d_bias, {kHeads, columns}, DType::kF32), keys,
                               d_table);
        relative_bias_backward(cuda().context, buckets, cuda().upload(d_bias, {kHeads, columns}, DType::kF32), keys,
                               d_table_there);
        EXPECT_EQ(cuda().read(d_table_there), to_doubles(d_table));
      }
    }
  }
}

TEST_F(CudaRelativeBias, SaysHowManyBucketsItTakes) {
  const RelativeBuckets many{.buckets = 130, .max_distance = 900};
  const Tensor table = cuda().context.empty({130, 1}, DType::kF32), bias = cuda().context.empty({1, 9}, DType::kF32);
  try {
    relative_bias_forward(cuda().context, many, table, 5, bias);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("128 buckets"));
  }
}

}  // namespace
}  // namespace tsugi
