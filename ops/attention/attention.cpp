#include "ops/attention/attention.h"

#include <algorithm>
#include <initializer_list>

#include "ops/attention/attention_internal.h"
#include "ops/attention/attention_tiles.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

void check_shapes(const Context& context, const AttentionShape& shape, const Dropout& dropout, const Tensor& out,
                  const Tensor& log_sum_exp, std::initializer_list<HeadsView> views) {
  CHECK_GE(shape.batch, 1);
  CHECK_GE(shape.heads, 1);
  CHECK_GE(shape.head_dim, 1);
  CHECK_GE(shape.query_tokens, 1);
  CHECK_GE(shape.key_tokens, 1);
  if (shape.causal) CHECK_LE(shape.query_tokens, shape.key_tokens) << "the queries are the last of the keys' tokens";
  CHECK_GE(shape.window, 0);
  CHECK_GE(shape.key_heads, 0);
  CHECK_EQ(shape.heads % shape.kv_heads(), 0) << "every key head serves as many query heads";
  for (const Tensor& bound : {shape.first_key, shape.end_key}) {
    if (!bound.defined()) continue;
    CHECK((bound.shape() == Shape{shape.batch, shape.query_tokens})) << bound.shape().to_string();
    CHECK(bound.dtype() == DType::kI32) << name_of(bound.dtype());
  }
  if (shape.relative_bias.defined()) {
    CHECK((shape.relative_bias.shape() == Shape{shape.heads, shape.key_tokens + shape.query_tokens - 1}))
        << shape.relative_bias.shape().to_string();
    CHECK(shape.relative_bias.dtype() == DType::kF32) << name_of(shape.relative_bias.dtype());
  }
  CHECK(shape.dtype == DType::kF32 || shape.dtype == DType::kBF16) << name_of(shape.dtype);
  CHECK((out.shape() == Shape{shape.batch, shape.query_tokens, shape.heads * shape.head_dim}))
      << out.shape().to_string();
  CHECK(out.dtype() == shape.dtype);
  if (log_sum_exp.defined()) {
    CHECK((log_sum_exp.shape() == Shape{shape.batch, shape.heads, shape.query_tokens}))
        << log_sum_exp.shape().to_string();
    CHECK(log_sum_exp.dtype() == DType::kF32);
  }
  if (dropout.active()) {
    CHECK_LT(dropout.p, 1.0f);
    CHECK_LE(shape.heads * shape.query_tokens * shape.key_tokens, int64_t{1} << 34) << "one stream has 2^34 words";
  }
  if (context.meta()) return;
  for (const HeadsView& view : views) CHECK(view.data != nullptr);
}

/// `per_pair`·head_dim for each pair of a query and a key that it sees, bounds of documents left aside; 0 when nobody
/// asks.
double flops(const AttentionShape& shape, double per_pair) {
  if (Profile::current() == nullptr) return 0.0;
  double seen = 0.0;
  for (int64_t i = 0; i < shape.query_tokens; ++i) {
    const int64_t diagonal = i + shape.key_tokens - shape.query_tokens;
    const int64_t first = shape.window == 0 ? 0 : std::max<int64_t>(diagonal - shape.window + 1, 0);
    const int64_t behind = shape.window == 0 ? shape.key_tokens : std::min(diagonal + shape.window, shape.key_tokens);
    seen += static_cast<double>(std::max<int64_t>((shape.causal ? diagonal + 1 : behind) - first, 0));
  }
  return seen * per_pair * static_cast<double>(shape.batch * shape.heads * shape.head_dim);
}

}  // namespace

void attention_forward(const Context& context, const AttentionShape& shape, const HeadsView& q, const HeadsView& k,
                       const HeadsView& v, const Dropout& dropout, const Tensor& out, const Tensor& log_sum_exp) {
  check_shapes(context, shape, dropout, out, log_sum_exp, {q, k, v});
  const ProfiledOperator work(context, "attention", flops(shape, 4.0), {&out, &out, &out, &out});
  if (DeviceOperators* device = context.operators()) {
    return device->attention_forward(context, shape, q, k, v, dropout, out, log_sum_exp);
  }
  const int64_t chunks = (shape.key_tokens + kDecodeChunk - 1) / kDecodeChunk;
  Tensor workspace;
  if (shape.query_tokens == 1 && chunks > 1) {
    workspace = context.empty({shape.batch * shape.heads, chunks, shape.head_dim + 2}, DType::kF32);
  }
  if (context.meta()) return;
  cpu::attention_forward(context, shape, q, k, v, dropout, out, log_sum_exp, workspace);
}

void attention_backward(const Context& context, const AttentionShape& shape, const HeadsView& q, const HeadsView& k,
                        const HeadsView& v, const Dropout& dropout, const Tensor& out, const Tensor& log_sum_exp,
                        const Tensor& d_out, const HeadsView& dq, const HeadsView& dk, const HeadsView& dv,
                        const Tensor& d_relative_bias) {
  check_shapes(context, shape, dropout, out, log_sum_exp, {q, k, v, dq, dk, dv});
  CHECK(log_sum_exp.defined()) << "the forward pass must save it";
  CHECK(d_out.shape() == out.shape()) << d_out.shape().to_string();
  CHECK(d_out.dtype() == shape.dtype);
  if (d_relative_bias.defined()) {
    CHECK(shape.relative_bias.defined());
    CHECK(d_relative_bias.shape() == shape.relative_bias.shape()) << d_relative_bias.shape().to_string();
    CHECK(d_relative_bias.dtype() == DType::kF32) << name_of(d_relative_bias.dtype());
  }
  const ProfiledOperator work(context, "attention backward", flops(shape, 10.0),
                              {&out, &d_out, &out, &out, &out, &out, &out, &out});
  if (DeviceOperators* device = context.operators()) {
    return device->attention_backward(context, shape, q, k, v, dropout, out, log_sum_exp, d_out, dq, dk, dv,
                                      d_relative_bias);
  }
  Tensor workspace;
  if (d_relative_bias.defined()) {
    const int64_t tiles = cpu::tiles_of(shape.query_tokens, cpu::kQueryTile);
    workspace = context.empty({shape.batch * shape.heads * tiles, cpu::bias_width(shape)}, DType::kF32);
  }
  if (context.meta()) return;
  cpu::attention_backward(context, shape, q, k, v, dropout, out, log_sum_exp, d_out, dq, dk, dv, d_relative_bias,
                          workspace);
}

}  // namespace tsugi
