#include <limits>

#include "ops/attention/attention.h"
#include "ops/attention/attention_cuda.h"
#include "ops/cuda/operators.h"

namespace tsugi::cuda {
namespace {

/// Whether tensor cores do it. `kernel`: which of their kernels compute.attention says.
bool by_tensor_cores(const AttentionShape& shape, AttentionKernel kernel) {
  if (fits_tensor_cores(shape.dtype, static_cast<int>(shape.head_dim))) return true;
  if (kernel != AttentionKernel::kMma) {
    refuse("attention by wgmma in " + std::string(name_of(shape.dtype)) + " with heads of " +
               std::to_string(shape.head_dim) + " elements",
           "it takes bf16 with heads that are a multiple of 8, up to 128: set compute.attention: MMA");
  }
  return false;
}

/// A sequence's blocks have the same y or z in a grid of CUDA.
constexpr int64_t kMostSequences = 65535;

DeviceAttentionShape sizes_of(const AttentionShape& shape) {
  if (shape.batch > kMostSequences) {
    refuse("attention over " + std::to_string(shape.batch) + " sequences at once",
           "at most " + std::to_string(kMostSequences) + " are: lower batch.micro_batch, or set compute.device: CPU");
  }
  const auto number = [](int64_t value) {
    CHECK_LE(value, std::numeric_limits<int>::max());
    return static_cast<int>(value);
  };
  return {.batch = number(shape.batch),
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
}

DeviceAttentionShape shape_of(const AttentionShape& shape, AttentionKernel kernel) {
  const DeviceAttentionShape result = sizes_of(shape);
  by_tensor_cores(shape, kernel) ? check_attention(result) : check_attention_fma(result);
  if (shape.relative_bias.defined() && kernel != AttentionKernel::kMma) {  // without an address on meta contexts
    refuse("attention by wgmma with positions by distance", "set compute.attention: MMA");
  }
  return result;
}

DeviceHeads heads_of(const HeadsView& view) {
  return {static_cast<bf16*>(view.data), view.batch_stride, view.token_stride, view.head_stride};
}

TypedHeads typed_heads_of(const HeadsView& view) {
  return {view.data, view.batch_stride, view.token_stride, view.head_stride};
}

/// A few new tokens in inference: nothing is kept for a backward pass.
bool is_decoding(const AttentionShape& shape, const Dropout& dropout, const Tensor& log_sum_exp) {
  return !log_sum_exp.defined() && !dropout.active() && shape.query_tokens <= kMostDecodedQueries;
}

Tensor scratch_of(const Context& context, size_t bytes) {
  return context.empty({static_cast<int64_t>(bytes / sizeof(float))}, DType::kF32);
}

}  // namespace

void Operators::attention_forward(const Context& context, const AttentionShape& shape, const HeadsView& q,
                                  const HeadsView& k, const HeadsView& v, const Dropout& dropout, const Tensor& out,
                                  const Tensor& log_sum_exp) {
  if (is_decoding(shape, dropout, log_sum_exp)) {
    const DeviceAttentionShape sizes = sizes_of(shape);
    check_attention_fma(sizes);
    const Tensor scratch = scratch_of(context, attention_decode_scratch_bytes(sizes));
    if (context.meta()) return;
    attention_decode(stream(), shape.dtype, sizes, typed_heads_of(q), typed_heads_of(k), typed_heads_of(v),
                     pointer<void>(scratch), pointer<void>(out));
    return;
  }
  const DeviceAttentionShape sizes = shape_of(shape, attention_);
  if (context.meta()) return;
  if (by_tensor_cores(shape, attention_)) {
    cuda::attention_forward(stream(), sizes, heads_of(q), heads_of(k), heads_of(v), key_of(dropout), pointer<bf16>(out),
                            pointer<float>(log_sum_exp), attention_);
  } else {
    attention_forward_fma(stream(), shape.dtype, sizes, typed_heads_of(q), typed_heads_of(k), typed_heads_of(v),
                          key_of(dropout), pointer<void>(out), pointer<float>(log_sum_exp));
  }
}

void Operators::attention_backward(const Context& context, const AttentionShape& shape, const HeadsView& q,
                                   const HeadsView& k, const HeadsView& v, const Dropout& dropout, const Tensor& out,
                                   const Tensor& log_sum_exp, const Tensor& d_out, const HeadsView& dq,
                                   const HeadsView& dk, const HeadsView& dv, const Tensor& d_relative_bias) {
  const DeviceAttentionShape sizes = shape_of(shape, attention_);
  const bool tensor_cores = by_tensor_cores(shape, attention_);
  const size_t scratch_bytes = tensor_cores ? attention_scratch_bytes(sizes, d_relative_bias.defined(), attention_)
                                            : attention_fma_scratch_bytes(sizes, d_relative_bias.defined());
  const Tensor scratch = scratch_of(context, scratch_bytes);
  if (context.meta()) return;
  if (tensor_cores) {
    cuda::attention_backward(stream(), sizes, heads_of(q), heads_of(k), heads_of(v), key_of(dropout),
                             pointer<bf16>(out), pointer<float>(log_sum_exp), pointer<bf16>(d_out),
                             pointer<void>(scratch), heads_of(dq), heads_of(dk), heads_of(dv), attention_,
                             pointer<float>(d_relative_bias));
  } else {
    attention_backward_fma(stream(), shape.dtype, sizes, typed_heads_of(q), typed_heads_of(k), typed_heads_of(v),
                           key_of(dropout), pointer<void>(out), pointer<float>(log_sum_exp), pointer<void>(d_out),
                           pointer<void>(scratch), typed_heads_of(dq), typed_heads_of(dk), typed_heads_of(dv),
                           pointer<float>(d_relative_bias));
  }
}

}  // namespace tsugi::cuda
