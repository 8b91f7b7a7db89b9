#include "ops/cross_entropy/cross_entropy.h"

#include <algorithm>

#include "ops/base/error.h"
#include "ops/cross_entropy/cross_entropy_internal.h"
#include "ops/matmul/matmul.h"

namespace tsugi {
namespace {

constexpr int64_t kLogitsPerChunk = int64_t{1} << 24;
constexpr int64_t kRowStep = 32;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Rows [begin, begin + count) of a matrix.
Tensor rows_of(const Tensor& matrix, int64_t begin, int64_t count) {
  return matrix.slice(begin * matrix.shape()[1], {count, matrix.shape()[1]});
}

void check_shapes(const Tensor& hidden, const Tensor& weight, const Tensor& targets, int64_t vocabulary,
                  const Tensor& row_loss, const Tensor& d_hidden, const Tensor& d_weight) {
  CHECK_EQ(hidden.shape().rank(), 2);
  CHECK_EQ(weight.shape().rank(), 2);
  CHECK(hidden.dtype() == DType::kF32 || hidden.dtype() == DType::kBF16);
  CHECK(weight.dtype() == hidden.dtype());
  CHECK_EQ(weight.shape()[1], hidden.shape()[1]);
  CHECK(targets.shape() == Shape{hidden.shape()[0]}) << targets.shape().to_string();
  CHECK(targets.dtype() == DType::kI32);
  CHECK_GE(vocabulary, 1);
  CHECK_LE(vocabulary, weight.shape()[0]);
  if (row_loss.defined()) CHECK(row_loss.shape() == targets.shape() && row_loss.dtype() == DType::kF32);
  CHECK_EQ(d_hidden.defined(), d_weight.defined()) << "both gradients or neither";
  if (!d_hidden.defined()) return;
  CHECK(d_hidden.shape() == hidden.shape());
  CHECK(d_hidden.dtype() == hidden.dtype() || d_hidden.dtype() == DType::kF32);
  CHECK(d_weight.shape() == weight.shape() && d_weight.dtype() == DType::kF32);
}

/// Adds the losses of a chunk in row order.
void add_losses(const Tensor& losses, const Tensor& targets, const Tensor& row_loss, LossSum& result) {
  for (int64_t r = 0; r < targets.elements(); ++r) {
    const double loss = losses.data<double>()[r];
    result.sum += loss;
    result.count += targets.data<int32_t>()[r] != kIgnoreIndex;
    if (row_loss.defined()) row_loss.data<float>()[r] = static_cast<float>(loss);
  }
}

}  // namespace

int64_t cross_entropy_chunk_rows(int64_t rows, int64_t columns) {
  const int64_t most = std::max(kRowStep, kLogitsPerChunk / columns / kRowStep * kRowStep);
  if (rows <= most) return rows;
  const int64_t even = divide_up(rows, divide_up(rows, most));
  return divide_up(even, kRowStep) * kRowStep;
}

LossSum linear_cross_entropy(const Context& context, const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                             int64_t vocabulary, const Tensor& row_loss, const Tensor& d_hidden,
                             const Tensor& d_weight) {
  check_shapes(hidden, weight, targets, vocabulary, row_loss, d_hidden, d_weight);
  if (!context.meta() && context.device().kind == Device::Kind::kCuda) {
    throw Error(ExitCode::kUsage, "built without CUDA");
  }
  const int64_t rows = hidden.shape()[0];
  const int64_t columns = weight.shape()[0];
  const int64_t chunk_rows = cross_entropy_chunk_rows(rows, columns);
  const bool gradient = d_hidden.defined();

  const Tensor losses = context.empty({chunk_rows}, DType::kF64);
  const Tensor all_logits = context.empty({chunk_rows, columns}, DType::kF32);
  // f32 gradients overwrite the logits; bf16 ones cannot without breaking up the rows.
  const bool in_place = hidden.dtype() == DType::kF32;
  Tensor all_d_logits;
  if (gradient) all_d_logits = in_place ? all_logits : context.empty({chunk_rows, columns}, hidden.dtype());

  LossSum result;
  for (int64_t begin = 0; begin < rows; begin += chunk_rows) {
    const int64_t count = std::min(chunk_rows, rows - begin);
    const Tensor chunk_hidden = rows_of(hidden, begin, count);
    const Tensor chunk_targets = targets.slice(begin, {count});
    const Tensor logits = rows_of(all_logits, 0, count);
    const Tensor d_logits = gradient ? rows_of(all_d_logits, 0, count) : Tensor();
    matmul(context, chunk_hidden, weight, logits, {.transpose_b = true});
    if (!context.meta()) {
      cpu::softmax_cross_entropy(context, logits, chunk_targets, vocabulary, losses, d_logits);
      add_losses(losses, chunk_targets, row_loss.defined() ? row_loss.slice(begin, {count}) : Tensor(), result);
    }
    if (!gradient) continue;
    matmul(context, d_logits, weight, rows_of(d_hidden, begin, count));
    matmul(context, d_logits, chunk_hidden, d_weight, {.transpose_a = true, .accumulate = true});
  }
  return result;
}

}  // namespace tsugi
