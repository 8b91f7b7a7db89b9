// Fused attention. FLOPs as the published tables count them: 4·B·H·T²·D forward, half of it if causal; backward 2.5
// times that (five products, as PING_PONG forms; the others form seven).
#include <algorithm>

#include "benchmarks/kernels/cases.h"
#include "ops/attention/attention_cuda.h"

namespace tsugi::benchmarks {
namespace {

struct Sizes {
  int batch, tokens, heads, key_heads, head_dim;
  bool causal;
  int window = 0;
  bool bias = false;  // numbers by distance
  DType type = DType::kBF16;

  bool by_tensor_cores() const { return cuda::fits_tensor_cores(type, head_dim); }

  int64_t queries() const { return int64_t{batch} * tokens * heads * head_dim; }
  int64_t keys() const { return int64_t{batch} * tokens * key_heads * head_dim; }
  /// Pairs of query and key; of the causal half, half of T².
  double pairs() const {
    const double t = tokens, w = window;
    if (window > 0) return t * w - w * w / 2.0;
    return causal ? t * t / 2.0 : t * t;
  }
  double flops() const { return 4.0 * batch * heads * head_dim * pairs(); }
};

cuda::TypedHeads heads_of(void* data, const Sizes& s, int heads) {
  const int64_t row = int64_t{heads} * s.head_dim;
  return {data, s.tokens * row, row, s.head_dim};
}
cuda::DeviceHeads for_tensor_cores(const cuda::TypedHeads& x) {
  return {static_cast<bf16*>(x.data), x.batch_stride, x.token_stride, x.head_stride};
}

void make(Maker& maker, const Sizes& s, bool backward, cuda::AttentionKernel kernel = {}) {
  const int64_t bias_count = s.bias ? int64_t{s.heads} * (2 * s.tokens - 1) : 0;
  const cuda::DeviceAttentionShape shape{
      .batch = s.batch,
      .query_tokens = s.tokens,
      .key_tokens = s.tokens,
      .heads = s.heads,
      .key_heads = s.key_heads,
      .head_dim = s.head_dim,
      .scale = 0.125f,
      .causal = s.causal,
      .window = s.window,
      .relative_bias = s.bias ? static_cast<float*>(maker.random(bias_count, DType::kF32)) : nullptr};
  const auto q = heads_of(maker.random(s.queries(), s.type), s, s.heads);
  const auto k = heads_of(maker.random(s.keys(), s.type), s, s.key_heads);
  const auto v = heads_of(maker.random(s.keys(), s.type), s, s.key_heads);
  void* const out = maker.empty(s.queries(), s.type);
  const int64_t sums = int64_t{s.batch} * s.heads * s.tokens;
  auto* const log_sum_exp = static_cast<float*>(maker.empty(sums, DType::kF32));
  const auto forward = [=](cuda::Stream& stream) {
    if (s.by_tensor_cores()) {
      cuda::attention_forward(stream, shape, for_tensor_cores(q), for_tensor_cores(k), for_tensor_cores(v), {},
                              static_cast<bf16*>(out), log_sum_exp, kernel);
    } else {
      cuda::attention_forward_fma(stream, s.type, shape, q, k, v, {}, out, log_sum_exp);
    }
  };
  if (!backward) {
    maker.work.run = forward;
    maker.result(out, s.queries(), s.type);
    maker.result(log_sum_exp, sums, DType::kF32);
    return;
  }
  const void* const d_out = maker.random(s.queries(), s.type);
  const auto dq = heads_of(maker.empty(s.queries(), s.type), s, s.heads);
  const auto dk = heads_of(maker.empty(s.keys(), s.type), s, s.key_heads);
  const auto dv = heads_of(maker.empty(s.keys(), s.type), s, s.key_heads);
  const size_t scratch_bytes = s.by_tensor_cores() ? cuda::attention_scratch_bytes(shape, s.bias, kernel)
                                                   : cuda::attention_fma_scratch_bytes(shape, s.bias);
  const auto scratch_floats = static_cast<int64_t>(scratch_bytes / sizeof(float));
  auto* const d_bias = s.bias ? static_cast<float*>(maker.empty(bias_count, DType::kF32)) : nullptr;
  void* const scratch = maker.empty(std::max<int64_t>(scratch_floats, 1), DType::kF32);
  maker.work.reset = forward;
  maker.work.run = [=](cuda::Stream& stream) {
    if (s.by_tensor_cores()) {
      cuda::attention_backward(stream, shape, for_tensor_cores(q), for_tensor_cores(k), for_tensor_cores(v), {},
                               static_cast<const bf16*>(out), log_sum_exp, static_cast<const bf16*>(d_out), scratch,
                               for_tensor_cores(dq), for_tensor_cores(dk), for_tensor_cores(dv), kernel, d_bias);
    } else {
      cuda::attention_backward_fma(stream, s.type, shape, q, k, v, {}, out, log_sum_exp, d_out, scratch, dq, dk, dv,
                                   d_bias);
    }
  };
  if (s.bias) maker.result(d_bias, bias_count, DType::kF32);
  maker.result(dq.data, s.queries(), s.type);
  maker.result(dk.data, s.keys(), s.type);
  maker.result(dv.data, s.keys(), s.type);
}

/// A new token of each text behind `tokens` keys.
void make_decoding(Maker& maker, const Sizes& s) {
  const cuda::DeviceAttentionShape shape{.batch = s.batch,
                                         .query_tokens = 1,
                                         .key_tokens = s.tokens,
                                         .heads = s.heads,
                                         .key_heads = s.key_heads,
                                         .head_dim = s.head_dim,
                                         .scale = 0.125f};
  const int64_t row = int64_t{s.heads} * s.head_dim;
  const cuda::TypedHeads q{maker.random(s.batch * row, s.type), row, row, s.head_dim};
  const auto k = heads_of(maker.random(s.keys(), s.type), s, s.key_heads);
  const auto v = heads_of(maker.random(s.keys(), s.type), s, s.key_heads);
  void* const out = maker.empty(s.batch * row, s.type);
  const auto floats = static_cast<int64_t>(cuda::attention_decode_scratch_bytes(shape) / sizeof(float));
  void* const scratch = maker.empty(floats, DType::kF32);
  maker.work.run = [=](cuda::Stream& stream) { cuda::attention_decode(stream, s.type, shape, q, k, v, scratch, out); };
  maker.result(out, s.batch * row, s.type);
}

void add_decoding_cases(bool tiny, std::vector<Case>& cases) {
  std::vector<Sizes> all;
  if (tiny) {
    all = {{2, 300, 2, 1, 64, true}};
  } else {
    for (const int batch : {1, 16, 128}) {
      all.push_back({batch, 1024, 12, 12, 64, true});  // GPT-2 124M
      all.push_back({batch, 8192, 32, 8, 128, true});  // Llama 3 8B
    }
    all.push_back({16, 1024, 12, 12, 64, true, 0, false, DType::kF32});
  }
  for (const Sizes& s : all) {
    const Shape shape{{"batch", s.batch},         {"tokens", s.tokens},     {"heads", s.heads},
                      {"key_heads", s.key_heads}, {"head_dim", s.head_dim}, {"f32", s.type == DType::kF32}};
    const double pairs = double(s.batch) * s.heads * s.tokens;
    const double bytes = 2.0 * static_cast<double>(s.keys()) * static_cast<double>(size_of(s.type));
    cases.push_back({"decode_attention", shape, 4.0 * pairs * s.head_dim, bytes, false,
                     [=](Maker& maker) { make_decoding(maker, s); }});
  }
}

}  // namespace

void add_attention_cases(bool tiny, std::vector<Case>& cases) {
  add_decoding_cases(tiny, cases);
  std::vector<Sizes> all;
  if (tiny) {
    all = {{1, 40, 2, 2, 64, true},
           {2, 24, 2, 1, 128, false},
           {1, 40, 1, 1, 64, true, 16},
           {1, 40, 2, 2, 64, false, 0, true},
           {1, 40, 2, 1, 20, true, 0, false, DType::kF32}};
  } else {
    // 16k tokens and 2048 columns, as in Dao, "FlashAttention-2" (2023), section 4.
    for (const int head_dim : {64, 128}) {
      for (const bool causal : {true, false}) {
        for (const int tokens : {512, 1024, 2048, 4096, 8192, 16384}) {
          all.push_back({16384 / tokens, tokens, 2048 / head_dim, 2048 / head_dim, head_dim, causal});
        }
      }
    }
    all.push_back({64, 1024, 12, 12, 64, true});            // GPT-2 124M
    all.push_back({8, 2048, 32, 8, 64, true});              // Llama 3.2 1B
    all.push_back({2, 8192, 16, 16, 128, true, 1024});      // a sliding window
    all.push_back({128, 512, 12, 12, 64, false, 0, true});  // T5 base
    for (const int head_dim : {64, 128, 256}) {             // by multiply-adds
      all.push_back({8, 1024, 768 / head_dim, 768 / head_dim, head_dim, true, 0, false, DType::kF32});
    }
    all.push_back({8, 1024, 8, 8, 160, true});
  }
  for (const Sizes& s : all) {
    const Shape shape{{"batch", s.batch},         {"tokens", s.tokens},     {"heads", s.heads},
                      {"key_heads", s.key_heads}, {"head_dim", s.head_dim}, {"causal", s.causal},
                      {"window", s.window},       {"bias", s.bias},         {"f32", s.type == DType::kF32}};
    const auto bytes = static_cast<double>(size_of(s.type));
    const auto q = static_cast<double>(s.queries()), k = static_cast<double>(s.keys());
    const auto forward = [&](const std::string& name, cuda::AttentionKernel kernel) {
      cases.push_back({name, shape, s.flops(), bytes * (2 * q + 2 * k), true,
                       [=](Maker& maker) { make(maker, s, false, kernel); }});
    };
    forward(s.by_tensor_cores() ? "attention_forward" : "attention_forward_fma", cuda::AttentionKernel::kMma);
    const bool wgmma = cuda::has_wgmma() && !s.bias && s.by_tensor_cores();
    if (wgmma) {
      forward("attention_forward_wgmma", cuda::AttentionKernel::kWgmma);
      forward("attention_forward_ping_pong", cuda::AttentionKernel::kPingPong);
    }
    const auto backward = [&](const std::string& name, cuda::AttentionKernel kernel) {
      cases.push_back({name, shape, 2.5 * s.flops(), bytes * (4 * q + 4 * k), true,
                       [=](Maker& maker) { make(maker, s, true, kernel); }});
    };
    backward(s.by_tensor_cores() ? "attention_backward" : "attention_backward_fma", cuda::AttentionKernel::kMma);
    if (wgmma) {
      backward("attention_backward_wgmma", cuda::AttentionKernel::kWgmma);
      backward("attention_backward_ping_pong", cuda::AttentionKernel::kPingPong);
    }
  }
}

}  // namespace tsugi::benchmarks
