#include <algorithm>

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/cross_entropy/cross_entropy_cuda.h"
#include "ops/cuda/operators.h"
#include "ops/matmul/matmul.h"

namespace tsugi::cuda {
namespace {

/// Logits of a chunk: a quarter of a GiB in bf16, so that its products keep a large device busy.
constexpr int64_t kLogitsPerChunk = int64_t{1} << 27;

}  // namespace

/// The logits of a chunk are of the type of hidden, and become their gradient in place.
LossSum Operators::linear_cross_entropy(const Context& context, const Tensor& hidden, const Tensor& weight,
                                        const Tensor& targets, int64_t vocabulary, const Tensor& row_loss,
                                        const Tensor& d_hidden, const Tensor& d_weight,
                                        const CrossEntropyOptions& options) {
  if (options.skip_ignored) refuse("cross-entropy with skip_ignored", "set compute.device: CPU");
  const int64_t rows = hidden.shape()[0];
  const int64_t columns = weight.shape()[0];
  const int64_t chunk_rows = cross_entropy_chunk_rows(rows, columns, kLogitsPerChunk);
  const Tensor logits = context.empty({chunk_rows, columns}, hidden.dtype());
  constexpr auto kFloats = static_cast<int64_t>(sizeof(DeviceRowLoss) / sizeof(float));
  const Tensor losses = context.empty({chunk_rows, kFloats}, DType::kF32);
  const Tensor sum = context.empty({static_cast<int64_t>(sizeof(DeviceLossSum) / sizeof(double))}, DType::kF64);
  fill_zero(context, sum);
  const CrossEntropyTerms terms{options.soft_cap, options.z_loss, options.label_smoothing};
  const bool gradient = d_hidden.defined() || d_weight.defined() || options.d_bias.defined();
  const auto rows_of = [](const Tensor& matrix, int64_t begin, int64_t count) {
    return matrix.slice(begin * matrix.shape()[1], {count, matrix.shape()[1]});
  };
  for (int64_t begin = 0; begin < rows; begin += chunk_rows) {
    const int64_t count = std::min(chunk_rows, rows - begin);
    const Tensor chunk = rows_of(logits, 0, count);
    const Tensor inputs = rows_of(hidden, begin, count);
    const Tensor chunk_targets = targets.slice(begin, {count});
    MatmulOptions product{.transpose_b = true};
    product.bias = options.bias;
    matmul(context, inputs, weight, chunk, product);
    if (!context.meta()) {
      softmax_cross_entropy(stream(), chunk.dtype(), terms, gradient, pointer<void>(chunk),
                            pointer<int32_t>(chunk_targets), count, vocabulary, columns,
                            pointer<DeviceRowLoss>(losses));
      add_losses(stream(), pointer<DeviceRowLoss>(losses), pointer<int32_t>(chunk_targets), count,
                 pointer<DeviceLossSum>(sum),
                 row_loss.defined() ? pointer<float>(row_loss.slice(begin, {count})) : nullptr);
    }
    if (d_hidden.defined()) matmul(context, chunk, weight, rows_of(d_hidden, begin, count), {});
    if (d_weight.defined()) matmul(context, chunk, inputs, d_weight, {.transpose_a = true, .accumulate = true});
    if (options.d_bias.defined()) column_sum(context, chunk, options.d_bias);
  }
  if (context.meta()) return {};
  return read_sum(sum);
}

LossSum Operators::read_sum(const Tensor& sum) {
  if (recorded_sum_ != nullptr) {  // copied: what comes after may have its memory
    stream().copy(recorded_sum_, sum.raw(), sizeof(DeviceLossSum));
    ++recorded_sums_;
    return {};
  }
  DeviceLossSum result;
  copy_to_host(&result, sum.raw(), sizeof(result));
  return {result.sum, result.count, result.z_loss, result.smoothing};
}

}  // namespace tsugi::cuda
