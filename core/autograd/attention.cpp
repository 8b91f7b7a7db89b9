#include "core/autograd/attention.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "ops/attention/attention.h"
#include "ops/columns/columns.h"
#include "ops/reduce/reduce.h"
#include "ops/rotary/rotary.h"

namespace tsugi {
namespace {

/// `heads` of `head_dim` from column `column` of every row of packed [B, T, row].
HeadsView heads_at(const Tensor& packed, int64_t column, int64_t head_dim) {
  const Shape& shape = packed.shape();
  return {packed.slice(column, {1}).raw(), shape[1] * shape[2], shape[2], head_dim};
}

/// Copies `width` columns from `column` of every row of packed [B, T, row] behind the tokens of a cache [B, capacity,
/// width], which holds zeros there on a device.
void append(const Context& context, const Tensor& packed, int64_t column, const Tensor& cache, int64_t length) {
  const int64_t batch = packed.shape()[0];
  const int64_t tokens = packed.shape()[1];
  const int64_t row = packed.shape()[2];
  const int64_t capacity = cache.shape()[1];
  const int64_t width = cache.shape()[2];
  CHECK_LE(length + tokens, capacity);
  if (context.operators() != nullptr && tokens == 1) {  // all rows in two launches
    const Tensor fresh = context.empty({batch, width}, packed.dtype());
    take_columns(context, packed.reshape({batch, row}), column, 1.0f, fresh);
    add_to_columns(context, fresh, length * width, 1.0f, cache.reshape({batch, capacity * width}));
    return;
  }
  for (int64_t b = 0; b < batch; ++b) {
    const Tensor to = cache.slice((b * capacity + length) * width, {tokens, width});
    if (context.operators() != nullptr) {
      take_columns(context, packed.slice(b * tokens * row, {tokens, row}), column, 1.0f, to);
      continue;
    }
    for (int64_t t = 0; t < tokens; ++t) {
      const Tensor from = packed.slice((b * tokens + t) * row + column, {width});
      const Tensor place = to.slice(t * width, {width});
      std::memcpy(place.raw(), from.raw(), place.bytes());
    }
  }
}

AttentionShape shape_of(const AttentionOptions& options, const Tensor& q, int64_t head_dim, int64_t key_tokens) {
  AttentionShape shape;
  shape.batch = q.shape()[0];
  shape.query_tokens = q.shape()[1];
  shape.key_tokens = key_tokens;
  shape.heads = options.heads;
  shape.head_dim = head_dim;
  shape.dtype = q.dtype();
  shape.scale = options.scale != 0.0f ? options.scale : 1.0f / std::sqrt(static_cast<float>(head_dim));
  shape.key_heads = options.key_heads;
  shape.causal = options.causal;
  shape.window = options.window;
  shape.first_key = options.first_key;
  shape.end_key = options.end_key;
  shape.relative_bias = options.relative_bias.value;
  return shape;
}

Rotary rotary_of(const AttentionOptions& options, int64_t head_dim, int64_t first_position) {
  const RotaryOptions& from = options.rotary;
  Rotary rotary;
  rotary.query_heads = options.heads;
  rotary.key_heads = options.kv_heads();
  rotary.head_dim = head_dim;
  rotary.table = from.table;
  rotary.first_position = first_position;
  rotary.positions = from.positions;
  if (from.query_gamma.defined()) rotary.query_gamma = from.query_gamma.value();
  if (from.key_gamma.defined()) rotary.key_gamma = from.key_gamma.value();
  rotary.epsilon = from.epsilon;
  return rotary;
}

/// The gradient of a norm's gamma: where it belongs, or nowhere.
Tensor gamma_sink(const Context& context, const Parameter& gamma) {
  if (gamma.trainable()) return gamma.gradient();
  const Tensor nowhere = context.empty(gamma.value().shape(), DType::kF32);
  fill_zero(context, nowhere);
  return nowhere;
}

/// Room for the gradient of the biases; undefined: nobody asks.
Tensor bias_gradient(const Context& context, const Variable& bias) {
  return bias.requires_gradient() ? context.empty(bias.value.shape(), DType::kF32) : Tensor();
}

void add_bias_gradient(const Context& context, const Variable& bias, Tensor gradient) {
  if (gradient.defined()) bias.gradient->add(context, std::move(gradient));
}

}  // namespace

Variable relative_bias(Tape& tape, const Parameter& table, const RelativeBuckets& buckets, int64_t query_tokens,
                       int64_t key_tokens) {
  const Context& context = tape.context();
  const Shape shape{table.value().shape()[1], key_tokens + query_tokens - 1};
  Variable out = tape.variable(context.empty(shape, DType::kF32), table.trainable());
  relative_bias_forward(context, buckets, table.value(), key_tokens, out.value);
  if (!out.requires_gradient()) return out;
  tape.record([context, table, buckets, key_tokens, output = out.gradient]() {
    relative_bias_backward(context, buckets, output->take(), key_tokens, table.gradient());
  });
  return out;
}

Variable self_attention(Tape& tape, Variable qkv, const AttentionOptions& options, KeyValueCache* cache) {
  const Context& context = tape.context();
  const int64_t batch = qkv.value.shape()[0];
  const int64_t length = qkv.value.shape()[1];
  const int64_t all_heads = options.heads + 2 * options.kv_heads();
  CHECK_EQ(qkv.value.shape()[2] % all_heads, 0) << qkv.value.shape().to_string() << " for " << all_heads << " heads";
  const int64_t head_dim = qkv.value.shape()[2] / all_heads;
  const int64_t key_column = options.heads * head_dim;
  const int64_t value_column = key_column + options.kv_heads() * head_dim;
  const DType type = qkv.value.dtype();

  // Queries and keys: where they came from, or normed and turned. The norm's backward pass needs what came before it,
  // the rotation's nothing.
  Rotary rotary = rotary_of(options, head_dim, cache != nullptr ? cache->length : 0);
  Tensor queries_keys = qkv.value;
  Tensor rstd;
  if (rotary.has_norm()) {
    queries_keys = context.empty({batch, length, value_column}, type);
    rstd = context.empty({batch, length, rotary.heads()}, DType::kF32);
    rotary_forward(context, rotary, qkv.value, queries_keys, rstd);
  } else if (rotary.table.defined()) {
    queries_keys = Tensor();
    qkv.value = make_unique_tensor(context, std::move(qkv.value));
    queries_keys = qkv.value;
    rotary_forward(context, rotary, queries_keys, queries_keys, Tensor());
  }

  const Dropout active = tape.recording() ? options.dropout : Dropout{};
  const bool train_norm =
      rotary.has_norm() && (options.rotary.query_gamma.trainable() || options.rotary.key_gamma.trainable());
  Variable out = tape.variable(context.empty({batch, length, key_column}, type),
                               qkv.requires_gradient() || train_norm || options.relative_bias.requires_gradient());
  if (cache != nullptr) {
    CHECK(!tape.recording());
    append(context, queries_keys, key_column, cache->keys, cache->length);
    append(context, qkv.value, value_column, cache->values, cache->length);
    cache->length += length;
    attention_forward(context, shape_of(options, qkv.value, head_dim, cache->length),
                      heads_at(queries_keys, 0, head_dim), heads_at(cache->keys, 0, head_dim),
                      heads_at(cache->values, 0, head_dim), active, out.value, Tensor());
    return out;
  }
  const AttentionShape shape = shape_of(options, qkv.value, head_dim, length);
  const Tensor log_sum_exp = context.empty({batch, options.heads, length}, DType::kF32);
  attention_forward(context, shape, heads_at(queries_keys, 0, head_dim), heads_at(queries_keys, key_column, head_dim),
                    heads_at(qkv.value, value_column, head_dim), active, out.value, log_sum_exp);
  if (!out.requires_gradient()) return out;

  tape.record([context, shape, rotary, head_dim, key_column, value_column, qkv, queries_keys, rstd, active,
               query_gamma = options.rotary.query_gamma, key_gamma = options.rotary.key_gamma,
               bias = options.relative_bias, saved = out.value, output = out.gradient, log_sum_exp]() {
    const Tensor d_out = output->take();
    const Tensor d_qkv = context.empty(qkv.value.shape(), qkv.value.dtype());
    const Tensor d_bias = bias_gradient(context, bias);
    attention_backward(context, shape, heads_at(queries_keys, 0, head_dim),
                       heads_at(queries_keys, key_column, head_dim), heads_at(qkv.value, value_column, head_dim),
                       active, saved, log_sum_exp, d_out, heads_at(d_qkv, 0, head_dim),
                       heads_at(d_qkv, key_column, head_dim), heads_at(d_qkv, value_column, head_dim), d_bias);
    add_bias_gradient(context, bias, d_bias);
    if (rotary.has_norm()) {
      rotary_backward(context, rotary, qkv.value, rstd, d_qkv, gamma_sink(context, query_gamma),
                      gamma_sink(context, key_gamma));
    } else if (rotary.table.defined()) {
      rotary_backward(context, rotary, Tensor(), Tensor(), d_qkv, Tensor(), Tensor());
    }
    if (qkv.requires_gradient()) qkv.gradient->add(context, d_qkv);
  });
  return out;
}

Variable cross_attention(Tape& tape, const Variable& q, const Variable& kv, const AttentionOptions& options) {
  CHECK(!options.causal) << "queries and keys count different tokens";
  CHECK(!options.rotary.table.defined() && !options.rotary.query_gamma.defined());
  CHECK(!options.relative_bias.value.defined()) << "texts of their own have no distances between them";
  const Context& context = tape.context();
  const int64_t head_dim = q.value.shape()[2] / options.heads;
  const int64_t value_column = options.kv_heads() * head_dim;
  CHECK_EQ(kv.value.shape()[2], 2 * value_column) << kv.value.shape().to_string();
  const AttentionShape shape = shape_of(options, q.value, head_dim, kv.value.shape()[1]);
  const Dropout active = tape.recording() ? options.dropout : Dropout{};
  Variable out =
      tape.variable(context.empty(q.value.shape(), q.value.dtype()), q.requires_gradient() || kv.requires_gradient());
  const Tensor log_sum_exp =
      out.requires_gradient() ? context.empty({shape.batch, shape.heads, shape.query_tokens}, DType::kF32) : Tensor();
  attention_forward(context, shape, heads_at(q.value, 0, head_dim), heads_at(kv.value, 0, head_dim),
                    heads_at(kv.value, value_column, head_dim), active, out.value, log_sum_exp);
  if (!out.requires_gradient()) return out;

  tape.record([context, shape, head_dim, value_column, q, kv, active, saved = out.value, output = out.gradient,
               log_sum_exp]() {
    const Tensor d_out = output->take();
    const Tensor d_q = context.empty(q.value.shape(), q.value.dtype());
    const Tensor d_kv = context.empty(kv.value.shape(), kv.value.dtype());
    attention_backward(context, shape, heads_at(q.value, 0, head_dim), heads_at(kv.value, 0, head_dim),
                       heads_at(kv.value, value_column, head_dim), active, saved, log_sum_exp, d_out,
                       heads_at(d_q, 0, head_dim), heads_at(d_kv, 0, head_dim), heads_at(d_kv, value_column, head_dim));
    if (q.requires_gradient()) q.gradient->add(context, d_q);
    if (kv.requires_gradient()) kv.gradient->add(context, d_kv);
  });
  return out;
}

}  // namespace tsugi
