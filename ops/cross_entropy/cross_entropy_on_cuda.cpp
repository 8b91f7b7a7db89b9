#include <algorithm>
#include <vector>

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/cross_entropy/cross_entropy_cuda.h"
#include "ops/cuda/operators.h"
#include "ops/gather_rows/gather_rows.h"
#include "ops/gather_rows/gather_rows_cuda.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"

namespace tsugi::cuda {
namespace {

/// Logits of a chunk: a quarter of a GiB in bf16, so that its products keep a large device busy.
constexpr int64_t kLogitsPerChunk = int64_t{1} << 27;

Tensor rows_of(const Tensor& matrix, int64_t begin, int64_t count) {
  return matrix.slice(begin * matrix.shape()[1], {count, matrix.shape()[1]});
}

/// Rows of a chunk where ignored ones are left out: an eighth of all.
int64_t kept_chunk_rows(int64_t rows) {
  constexpr int64_t kStep = 32;
  return std::max(kStep, (rows + 8 * kStep - 1) / (8 * kStep) * kStep);
}

/// x[indices[n]] = rows[n] for n < count.
void put_rows(Stream& stream, const Tensor& rows, const Tensor& indices, int64_t count, const Tensor& x) {
  const int64_t width = rows.elements() / rows.shape()[0];
  put_rows(stream, rows.dtype(), pointer<void>(rows), pointer<int32_t>(indices), count, width, pointer<void>(x));
}

/// What the chunks of a call have in common. The logits of a chunk are of the type of hidden, and become their gradient
/// in place.
struct Chunks {
  Chunks(Operators& own, const Context& context, DType type, const Tensor& of_weight, int64_t of_vocabulary,
         int64_t rows, bool wants_gradient, const Tensor& of_d_weight, const CrossEntropyOptions& all_options)
      : operators(own),
        weight(of_weight),
        vocabulary(of_vocabulary),
        gradient(wants_gradient),
        d_weight(of_d_weight),
        options(all_options),
        logits(context.empty({rows, weight.shape()[0]}, type)),
        losses(context.empty({rows, static_cast<int64_t>(sizeof(DeviceRowLoss) / sizeof(float))}, DType::kF32)),
        sum(context.empty({static_cast<int64_t>(sizeof(DeviceLossSum) / sizeof(double))}, DType::kF64)) {
    fill_zero(context, sum);
  }

  /// `row_loss`: as many as there are targets, or undefined.
  void run(const Context& context, const Tensor& inputs, const Tensor& targets, const Tensor& row_loss,
           const Tensor& d_inputs) {
    const int64_t count = targets.shape()[0];
    const Tensor chunk = rows_of(logits, 0, count);
    MatmulOptions product{.transpose_b = true};
    product.bias = options.bias;
    matmul(context, inputs, weight, chunk, product);
    if (!context.meta()) {
      const CrossEntropyTerms terms{options.soft_cap, options.z_loss, options.label_smoothing};
      Stream& stream = operators.stream();
      softmax_cross_entropy(stream, chunk.dtype(), terms, gradient, pointer<void>(chunk), pointer<int32_t>(targets),
                            count, vocabulary, weight.shape()[0], pointer<DeviceRowLoss>(losses));
      add_losses(stream, pointer<DeviceRowLoss>(losses), pointer<int32_t>(targets), count, pointer<DeviceLossSum>(sum),
                 pointer<float>(row_loss));
    }
    if (d_inputs.defined()) matmul(context, chunk, weight, d_inputs, {});
    if (d_weight.defined()) matmul(context, chunk, inputs, d_weight, {.transpose_a = true, .accumulate = true});
    if (options.d_bias.defined()) column_sum(context, chunk, options.d_bias);
  }

  Operators& operators;
  Tensor weight;
  int64_t vocabulary;
  bool gradient;
  Tensor d_weight;
  CrossEntropyOptions options;
  Tensor logits, losses, sum;
};

/// Indices of the targets that count, in order, and these targets; in chunks, the last one of which is filled up with
/// ignored ones of row 0. Waits for the targets.
struct KeptRows {
  KeptRows(Operators& operators, const Context& context, const Tensor& targets, int64_t chunk_rows)
      : indices(context.empty({whole(targets, chunk_rows)}, DType::kI32)),
        kept_targets(context.empty({whole(targets, chunk_rows)}, DType::kI32)) {
    if (context.meta()) return;
    std::vector<int32_t> all(static_cast<size_t>(targets.elements()));
    operators.copy_to_host(all.data(), targets.raw(), targets.bytes());
    std::vector<int32_t> rows, of_rows;
    for (size_t row = 0; row < all.size(); ++row) {
      if (all[row] == kIgnoreIndex) continue;
      rows.push_back(static_cast<int32_t>(row));
      of_rows.push_back(all[row]);
    }
    count = std::ssize(rows);
    rows.resize(static_cast<size_t>(indices.elements()), 0);
    of_rows.resize(static_cast<size_t>(indices.elements()), kIgnoreIndex);
    operators.copy_to_device(indices.raw(), rows.data(), indices.bytes());
    operators.copy_to_device(kept_targets.raw(), of_rows.data(), kept_targets.bytes());
  }
  static int64_t whole(const Tensor& targets, int64_t chunk_rows) {
    return (targets.elements() + chunk_rows - 1) / chunk_rows * chunk_rows;
  }

  Tensor indices, kept_targets;
  int64_t count = 0;
};

}  // namespace

LossSum Operators::linear_cross_entropy(const Context& context, const Tensor& hidden, const Tensor& weight,
                                        const Tensor& targets, int64_t vocabulary, const Tensor& row_loss,
                                        const Tensor& d_hidden, const Tensor& d_weight,
                                        const CrossEntropyOptions& options) {
  const int64_t rows = hidden.shape()[0];
  int64_t chunk_rows = cross_entropy_chunk_rows(rows, weight.shape()[0], kLogitsPerChunk);
  if (options.skip_ignored) chunk_rows = std::min(chunk_rows, kept_chunk_rows(rows));
  const bool gradient = d_hidden.defined() || d_weight.defined() || options.d_bias.defined();
  Chunks chunks(*this, context, hidden.dtype(), weight, vocabulary, chunk_rows, gradient, d_weight, options);
  if (!options.skip_ignored) {
    for (int64_t begin = 0; begin < rows; begin += chunk_rows) {
      const int64_t count = std::min(chunk_rows, rows - begin);
      chunks.run(context, rows_of(hidden, begin, count), targets.slice(begin, {count}),
                 row_loss.defined() ? row_loss.slice(begin, {count}) : Tensor(),
                 d_hidden.defined() ? rows_of(d_hidden, begin, count) : Tensor());
    }
    return context.meta() ? LossSum{} : read_sum(chunks.sum);
  }

  const KeptRows kept(*this, context, targets, chunk_rows);
  const Tensor inputs = context.empty({chunk_rows, hidden.shape()[1]}, hidden.dtype());
  const Tensor d_inputs = d_hidden.defined() ? context.empty(inputs.shape(), d_hidden.dtype()) : Tensor();
  const Tensor losses = row_loss.defined() ? context.empty({chunk_rows}, DType::kF32) : Tensor();
  if (d_hidden.defined()) fill_zero(context, d_hidden);
  if (row_loss.defined()) fill_zero(context, row_loss);
  // What no row is left for takes the memory that is planned, and no more.
  const Context idle(Device{.meta = true, .operators = this}, context.pool(), context.memory());
  for (int64_t begin = 0; begin < rows; begin += chunk_rows) {
    const int64_t count = std::clamp<int64_t>(kept.count - begin, 0, chunk_rows);
    const Context& working = count > 0 ? context : idle;
    const Tensor indices = kept.indices.slice(begin, {chunk_rows});
    if (count > 0) tsugi::gather_rows(working, hidden, indices, inputs);
    chunks.run(working, inputs, kept.kept_targets.slice(begin, {chunk_rows}), losses, d_inputs);
    if (count == 0) continue;
    if (d_hidden.defined()) put_rows(stream(), d_inputs, indices, count, d_hidden);
    if (row_loss.defined()) put_rows(stream(), losses, indices, count, row_loss);
  }
  return context.meta() ? LossSum{} : read_sum(chunks.sum);
}

LossSum Operators::read_sum(const Tensor& sum) {
  if (loss_slot_.defined()) {
    keep_loss(stream(), pointer<DeviceLossSum>(sum), pointer<double>(loss_slot_));
    ++losses_left_;
    return {};
  }
  DeviceLossSum result;
  copy_to_host(&result, sum.raw(), sizeof(result));
  return {result.sum, result.count, result.z_loss, result.smoothing};
}

void Operators::leave_loss_in(const Tensor& slot) {
  if (slot.defined()) {
    CHECK(slot.dtype() == DType::kF64);
    CHECK_EQ(slot.elements(), 2);
  } else {
    CHECK_EQ(losses_left_, 1) << "one cross-entropy must be formed for a slot";
  }
  loss_slot_ = slot;
  losses_left_ = 0;
}

}  // namespace tsugi::cuda
