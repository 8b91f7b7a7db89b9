#include "ops/cross_entropy/cross_entropy.h"

#include <algorithm>
#include <cstring>

#include "ops/cross_entropy/cross_entropy_internal.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

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
  if (d_hidden.defined()) {
    CHECK(d_hidden.shape() == hidden.shape());
    CHECK(d_hidden.dtype() == hidden.dtype() || d_hidden.dtype() == DType::kF32);
  }
  if (d_weight.defined()) CHECK(d_weight.shape() == weight.shape() && d_weight.dtype() == DType::kF32);
}

void check_options(const CrossEntropyOptions& options, const Tensor& weight) {
  CHECK_GE(options.soft_cap, 0.0f);
  CHECK_GE(options.z_loss, 0.0f);
  CHECK(options.label_smoothing >= 0.0f && options.label_smoothing < 1.0f) << options.label_smoothing;
  const Shape columns{weight.shape()[0]};
  if (options.bias.defined()) CHECK(options.bias.shape() == columns && options.bias.dtype() == weight.dtype());
  if (options.d_bias.defined()) {
    CHECK(options.bias.defined());
    CHECK(options.d_bias.shape() == columns && options.d_bias.dtype() == DType::kF32);
  }
}

bool wants_gradient(const Tensor& d_hidden, const Tensor& d_weight, const CrossEntropyOptions& options) {
  return d_hidden.defined() || d_weight.defined() || options.d_bias.defined();
}

/// What every chunk of one call shares.
struct Call {
  Call(const Context& c, const Tensor& hidden, const Tensor& w, int64_t v, int64_t chunk_rows, bool gradient,
       const Tensor& d_w, const CrossEntropyOptions& o)
      : context(c), weight(w), vocabulary(v), d_weight(d_w), options(o) {
    const int64_t columns = weight.shape()[0];
    losses = context.empty({chunk_rows}, DType::kF64);
    if (o.z_loss > 0.0f || o.label_smoothing > 0.0f) extras = context.empty({chunk_rows, 2}, DType::kF64);
    logits = context.empty({chunk_rows, columns}, DType::kF32);
    // f32 gradients overwrite the logits; bf16 ones cannot without breaking up the rows.
    const bool in_place = hidden.dtype() == DType::kF32;
    if (gradient) d_logits = in_place ? logits : context.empty({chunk_rows, columns}, hidden.dtype());
  }

  /// One chunk: `losses` and `extras`, the gradient of its rows (if defined), and its part of d_weight. With `skip`,
  /// memory is taken as always, so that a planned arena fits, and nothing is computed.
  void run_chunk(const Tensor& hidden, const Tensor& targets, const Tensor& d_hidden, bool skip) const {
    const Context here(Device{.meta = context.meta() || skip}, context.pool(), context.memory());
    const int64_t count = targets.elements();
    const Tensor chunk_logits = rows_of(logits, 0, count);
    MatmulOptions product{.transpose_b = true};
    product.bias = options.bias;
    matmul(here, hidden, weight, chunk_logits, product);
    const Tensor d_chunk = d_logits.defined() ? rows_of(d_logits, 0, count) : Tensor();
    if (!here.meta()) {
      const ProfiledOperator work(here, "cross-entropy", 0, {&chunk_logits, &chunk_logits, &d_chunk});
      cpu::softmax_cross_entropy(here, chunk_logits, targets, vocabulary, options, losses, extras, d_chunk);
    }
    if (d_hidden.defined()) matmul(here, d_chunk, weight, d_hidden);
    if (d_weight.defined()) matmul(here, d_chunk, hidden, d_weight, {.transpose_a = true, .accumulate = true});
    if (options.d_bias.defined()) column_sum(here, d_chunk, options.d_bias);
  }

  /// Adds the losses of a chunk's first `count` rows in order; row r is written to row_loss[row_of(r)].
  template <class F>
  void add_losses(const Tensor& targets, int64_t count, const Tensor& row_loss, F&& row_of, LossSum& result) const {
    for (int64_t r = 0; r < count; ++r) {
      const double loss = losses.data<double>()[r];
      result.sum += loss;
      result.count += targets.data<int32_t>()[r] != kIgnoreIndex;
      if (extras.defined()) {
        result.z_loss += extras.data<double>()[2 * r];
        result.smoothing += extras.data<double>()[2 * r + 1];
      }
      if (row_loss.defined()) row_loss.data<float>()[row_of(r)] = static_cast<float>(loss);
    }
  }

  Context context;
  Tensor weight;
  int64_t vocabulary;
  Tensor d_weight;
  CrossEntropyOptions options;
  Tensor losses, extras, logits, d_logits;
};

/// rows[r] = matrix[indices[r]], or the reverse.
void copy_rows(ThreadPool& pool, const Tensor& matrix, const int32_t* indices, int64_t count, const Tensor& rows,
               bool into_matrix) {
  constexpr int64_t kRows = 16;
  const size_t bytes = static_cast<size_t>(matrix.shape()[1]) * size_of(matrix.dtype());
  pool.for_each(divide_up(count, kRows), [&](int64_t piece, int) {
    for (int64_t r = piece * kRows; r < std::min((piece + 1) * kRows, count); ++r) {
      std::byte* const there = static_cast<std::byte*>(matrix.raw()) + static_cast<size_t>(indices[r]) * bytes;
      std::byte* const here = static_cast<std::byte*>(rows.raw()) + static_cast<size_t>(r) * bytes;
      std::memcpy(into_matrix ? there : here, into_matrix ? here : there, bytes);
    }
  });
}

/// The rows of the targets that count, in order, in chunks of an eighth of all rows; the last one is filled up with
/// zeros, so that products always have the planned sizes.
LossSum run_without_ignored(const Context& context, const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                            int64_t vocabulary, const Tensor& row_loss, const Tensor& d_hidden, const Tensor& d_weight,
                            const CrossEntropyOptions& options) {
  const int64_t rows = hidden.shape()[0];
  const int64_t width = hidden.shape()[1];
  const int64_t chunk_rows = std::min(cross_entropy_chunk_rows(rows, weight.shape()[0]),
                                      std::max(kRowStep, divide_up(rows, 8 * kRowStep) * kRowStep));
  const Call call(context, hidden, weight, vocabulary, chunk_rows, wants_gradient(d_hidden, d_weight, options),
                  d_weight, options);
  const Tensor indices = context.empty({rows}, DType::kI32);
  const Tensor chunk_targets = context.empty({chunk_rows}, DType::kI32);
  const Tensor chunk_hidden = context.empty({chunk_rows, width}, hidden.dtype());
  const Tensor chunk_d_hidden = d_hidden.defined() ? context.empty({chunk_rows, width}, d_hidden.dtype()) : Tensor();
  if (d_hidden.defined()) fill_zero(context, d_hidden);

  int64_t valid = 0;
  int32_t* const index = indices.data<int32_t>();
  if (!context.meta()) {
    for (int64_t r = 0; r < rows; ++r) {
      if (targets.data<int32_t>()[r] != kIgnoreIndex) index[valid++] = static_cast<int32_t>(r);
    }
    if (row_loss.defined()) fill_zero(context, row_loss);
  }
  LossSum result;
  for (int64_t begin = 0; begin < rows; begin += chunk_rows) {
    const int64_t count = std::clamp<int64_t>(valid - begin, 0, chunk_rows);
    if (count > 0) {
      fill_zero(context, chunk_hidden);
      copy_rows(context.pool(), hidden, index + begin, count, chunk_hidden, false);
      for (int64_t r = 0; r < chunk_rows; ++r) {
        chunk_targets.data<int32_t>()[r] = r < count ? targets.data<int32_t>()[index[begin + r]] : kIgnoreIndex;
      }
    }
    call.run_chunk(chunk_hidden, chunk_targets, chunk_d_hidden, count == 0);
    if (count == 0) continue;
    call.add_losses(chunk_targets, count, row_loss, [&](int64_t r) { return index[begin + r]; }, result);
    if (d_hidden.defined()) copy_rows(context.pool(), d_hidden, index + begin, count, chunk_d_hidden, true);
  }
  return result;
}

}  // namespace

int64_t cross_entropy_chunk_rows(int64_t rows, int64_t columns, int64_t logits) {
  const int64_t most = std::max(kRowStep, logits / columns / kRowStep * kRowStep);
  if (rows <= most) return rows;
  const int64_t even = divide_up(rows, divide_up(rows, most));
  return divide_up(even, kRowStep) * kRowStep;
}

LossSum linear_cross_entropy(const Context& context, const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                             int64_t vocabulary, const Tensor& row_loss, const Tensor& d_hidden, const Tensor& d_weight,
                             const CrossEntropyOptions& options) {
  check_shapes(hidden, weight, targets, vocabulary, row_loss, d_hidden, d_weight);
  check_options(options, weight);
  if (DeviceOperators* device = context.operators()) {
    const ProfiledOperator work(context, "cross-entropy", 0, {});
    return device->linear_cross_entropy(context, hidden, weight, targets, vocabulary, row_loss, d_hidden, d_weight,
                                        options);
  }
  if (options.skip_ignored) {
    return run_without_ignored(context, hidden, weight, targets, vocabulary, row_loss, d_hidden, d_weight, options);
  }
  const int64_t rows = hidden.shape()[0];
  const int64_t chunk_rows = cross_entropy_chunk_rows(rows, weight.shape()[0]);
  const Call call(context, hidden, weight, vocabulary, chunk_rows, wants_gradient(d_hidden, d_weight, options),
                  d_weight, options);
  LossSum result;
  for (int64_t begin = 0; begin < rows; begin += chunk_rows) {
    const int64_t count = std::min(chunk_rows, rows - begin);
    const Tensor chunk_targets = targets.slice(begin, {count});
    call.run_chunk(rows_of(hidden, begin, count), chunk_targets,
                   d_hidden.defined() ? rows_of(d_hidden, begin, count) : Tensor(), false);
    if (context.meta()) continue;
    call.add_losses(chunk_targets, count, row_loss, [&](int64_t r) { return begin + r; }, result);
  }
  return result;
}

}  // namespace tsugi
