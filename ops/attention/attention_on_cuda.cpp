#include <limits>

#include "ops/attention/attention.h"
#include "ops/attention/attention_cuda.h"
#include "ops/cuda/operators.h"

namespace tsugi::cuda {
namespace {

DeviceAttentionShape shape_of(const AttentionShape& shape, AttentionKernel kernel) {
  if (shape.dtype != DType::kBF16) {
    refuse(std::string("attention in ") + name_of(shape.dtype), "set numerics.compute: BF16, or compute.device: CPU");
  }
  const auto number = [](int64_t value) {
    CHECK_LE(value, std::numeric_limits<int>::max());
    return static_cast<int>(value);
  };
  const DeviceAttentionShape result{.batch = number(shape.batch),
                                    .query_tokens = number(shape.query_tokens),
                                    .key_tokens = number(shape.key_tokens),
                                    .heads = number(shape.heads),
                                    .key_heads = number(shape.kv_heads()),
                                    .head_dim = number(shape.head_dim),
                                    .scale = shape.scale,
                                    .causal = shape.causal,
                                    .window = number(shape.window),
                                    .first_key = pointer<int32_t>(shape.first_key),
                                    .end_key = pointer<int32_t>(shape.end_key),
                                    .relative_bias = pointer<float>(shape.relative_bias)};
  check_attention(result);
  if (shape.relative_bias.defined() && kernel != AttentionKernel::kMma) {  // without an address on meta contexts
    refuse("attention by wgmma with positions by distance", "set compute.attention: MMA");
  }
  return result;
}

DeviceHeads heads_of(const HeadsView& view) {
  return {static_cast<bf16*>(view.data), view.batch_stride, view.token_stride, view.head_stride};
}

}  // namespace

void Operators::attention_forward(const Context& context, const AttentionShape& shape, const HeadsView& q,
                                  const HeadsView& k, const HeadsView& v, const Dropout& dropout, const Tensor& out,
                                  const Tensor& log_sum_exp) {
  const DeviceAttentionShape sizes = shape_of(shape, attention_);
  if (context.meta()) return;
  cuda::attention_forward(stream(), sizes, heads_of(q), heads_of(k), heads_of(v), dropout_key(dropout),
                          pointer<bf16>(out), pointer<float>(log_sum_exp), attention_);
}

void Operators::attention_backward(const Context& context, const AttentionShape& shape, const HeadsView& q,
                                   const HeadsView& k, const HeadsView& v, const Dropout& dropout, const Tensor& out,
                                   const Tensor& log_sum_exp, const Tensor& d_out, const HeadsView& dq,
                                   const HeadsView& dk, const HeadsView& dv, const Tensor& d_relative_bias) {
  const DeviceAttentionShape sizes = shape_of(shape, attention_);
  const size_t scratch_bytes = attention_scratch_bytes(sizes, d_relative_bias.defined());
  const Tensor scratch = context.empty({static_cast<int64_t>(scratch_bytes / sizeof(float))}, DType::kF32);
  if (context.meta()) return;
  cuda::attention_backward(stream(), sizes, heads_of(q), heads_of(k), heads_of(v), dropout_key(dropout),
                           pointer<bf16>(out), pointer<float>(log_sum_exp), pointer<bf16>(d_out),
                           pointer<void>(scratch), heads_of(dq), heads_of(dk), heads_of(dv), attention_,
                           pointer<float>(d_relative_bias));
}

}  // namespace tsugi::cuda
