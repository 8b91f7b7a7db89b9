#include <string>

#include "ops/attention/attention_fma.cuh"
#include "ops/base/error.h"

namespace tsugi::cuda {
namespace {

struct FmaForward {
  DeviceAttentionShape shape;
  TypedHeads q, k, v;
  DropoutKey dropout;
  void* out;
  float* log_sum_exp;
};

template <int D>
struct FmaForwardShared {
  FmaTile<fma_tile(D), D> q, k, v;
  FmaWeights<fma_tile(D), fma_tile(D)> weights;
  FmaRangeScratch ranges;
};

/// A block owns a tile of queries of a head and visits the tiles of keys that they see, in order. Of a query's 16
/// threads each sums the probabilities of its own keys; they are added at the end.
template <class T, int D>
TSUGI_KERNEL(kFmaThreads, D == 64 ? 2 : 1)
attend_fma(FmaForward p) {
  constexpr int kRows = fma_tile(D);
  constexpr int kKeys = fma_tile(D);
  constexpr int N = kRows / 16, M = kKeys / 16;
  constexpr float kInfinity = __builtin_huge_valf();
  auto& s = dev::shared<FmaForwardShared<D>>();
  const DeviceAttentionShape& shape = p.shape;
  // Causal tiles at the end have the most keys: they go first.
  const int query0 = static_cast<int>(dev::grid_size().x - 1 - dev::block_index().x) * kRows;
  const int head = static_cast<int>(dev::block_index().y);
  const int batch = static_cast<int>(dev::block_index().z);
  const int key_head = head / (shape.heads / shape.key_heads);
  const float scale_log2 = shape.scale * dev::kLog2E;
  const float* const bias = bias_of(shape, head);

  s.q.fetch(row_of<const T>(p.q, batch, query0, head), p.q.token_stride, shape.query_tokens - query0, shape.head_dim);
  const TileRange range = fma_range(shape, batch, query0, kRows, s.ranges);
  KeyRange rows[N];
  float out[N][D / 16], largest[N], sums[N];
  TSUGI_UNROLL
  for (int i = 0; i < N; ++i) {
    rows[i] = keys_of(shape, batch, query0 + fma_y() + 16 * i);
    largest[i] = -kInfinity;
    sums[i] = 0.0f;
    TSUGI_UNROLL
    for (float& element : out[i]) element = 0.0f;
  }
  const int begin = range.first < range.end ? range.first / kKeys * kKeys : 0;
  const int end = range.first < range.end ? range.end : 0;
  for (int key0 = begin; key0 < end; key0 += kKeys) {
    dev::sync_threads();  // all have left the tile before
    const int left = shape.key_tokens - key0;
    s.k.fetch(row_of<const T>(p.k, batch, key0, key_head), p.k.token_stride, left, shape.head_dim);
    s.v.fetch(row_of<const T>(p.v, batch, key0, key_head), p.v.token_stride, left, shape.head_dim);
    dev::sync_threads();
    const uint32_t kept = fma_kept<N, M, false>(p.dropout, shape, batch, head, query0, key0);
    float scores[N][M];
    fma_transposed(scores, s.q, s.k, shape.head_dim);
    TSUGI_UNROLL
    for (int i = 0; i < N; ++i) {
      float most = largest[i];
      TSUGI_UNROLL
      for (int j = 0; j < M; ++j) {
        const int key = key0 + fma_x() + 16 * j;
        scores[i][j] = key >= rows[i].first && key < rows[i].end
                           ? fma_score(shape, bias, scores[i][j], scale_log2, query0 + fma_y() + 16 * i, key)
                           : -kInfinity;
        most = dev::maximum(most, scores[i][j]);
      }
      TSUGI_UNROLL
      for (int mask = 8; mask > 0; mask /= 2) most = dev::maximum(most, dev::shuffle_xor(most, mask));
      // A row that has seen no key yet: exp2(-inf - 0) = 0 everywhere, and no inf - inf.
      const float shift = most == -kInfinity ? 0.0f : most;
      const float shrink = dev::exp2(largest[i] - shift);
      largest[i] = most;
      sums[i] *= shrink;
      TSUGI_UNROLL
      for (float& element : out[i]) element *= shrink;
      TSUGI_UNROLL
      for (int j = 0; j < M; ++j) {
        scores[i][j] = dev::exp2(scores[i][j] - shift);
        sums[i] += scores[i][j];
        const float factor = p.dropout.active() ? p.dropout.keep_scale : 1.0f;
        scores[i][j] = (kept >> fma_kept_bit<false>(M * i + j) & 1u) != 0 ? scores[i][j] * factor : 0.0f;
      }
    }
    fma_store(scores, s.weights);
    dev::sync_warp();
    fma_rows(out, s.weights, s.v);
  }

  float inverse[N];
  TSUGI_UNROLL
  for (int i = 0; i < N; ++i) {
    float sum = sums[i];
    TSUGI_UNROLL
    for (int mask = 8; mask > 0; mask /= 2) sum += dev::shuffle_xor(sum, mask);
    inverse[i] = sum > 0.0f ? 1.0f / sum : 0.0f;
    const int query = query0 + fma_y() + 16 * i;
    if (fma_x() == 0 && p.log_sum_exp != nullptr && query < shape.query_tokens) {
      const int64_t at = (static_cast<int64_t>(batch) * shape.heads + head) * shape.query_tokens + query;
      dev::store(p.log_sum_exp + at, sum > 0.0f ? (largest[i] + dev::log2(sum)) * dev::kLn2 : kInfinity);
    }
  }
  const int64_t stride = static_cast<int64_t>(shape.heads) * shape.head_dim;
  T* const to = static_cast<T*>(p.out) + (static_cast<int64_t>(batch) * shape.query_tokens + query0) * stride +
                static_cast<int64_t>(head) * shape.head_dim;
  fma_write(out, inverse, to, stride, shape.query_tokens - query0, shape.head_dim);
}

template <class T, int D>
void launch_attend_fma(Stream& stream, const FmaForward& p) {
  launch(stream, attend_fma<T, D>,
         {{tiles_of(p.shape.query_tokens, fma_tile(D)), static_cast<unsigned>(p.shape.heads),
           static_cast<unsigned>(p.shape.batch)},
          kFmaThreads,
          sizeof(FmaForwardShared<D>)},
         p);
}

template <class T>
void launch_attend_fma(Stream& stream, const FmaForward& p) {
  if (p.shape.head_dim <= 64) {
    launch_attend_fma<T, 64>(stream, p);
  } else if (p.shape.head_dim <= 128) {
    launch_attend_fma<T, 128>(stream, p);
  } else {
    launch_attend_fma<T, 256>(stream, p);
  }
}

}  // namespace

bool fits_tensor_cores(DType type, int head_dim) {
  return type == DType::kBF16 && head_dim >= 8 && head_dim <= 128 && head_dim % 8 == 0;
}

void check_attention_fma(const DeviceAttentionShape& shape) {
  if (shape.head_dim >= 1 && shape.head_dim <= kMostFmaHeadDim) return;
  throw Error(ExitCode::kUsage, "CUDA: attention with heads of " + std::to_string(shape.head_dim) + " elements",
              "a head must have " + std::to_string(kMostFmaHeadDim) + " at most");
}

void attention_forward_fma(Stream& stream, DType type, const DeviceAttentionShape& shape, const TypedHeads& q,
                           const TypedHeads& k, const TypedHeads& v, const DropoutKey& dropout, void* out,
                           float* log_sum_exp) {
  check_attention_fma(shape);
  const FmaForward p{shape, q, k, v, dropout, out, log_sum_exp};
  type == DType::kF32 ? launch_attend_fma<float>(stream, p) : launch_attend_fma<bf16>(stream, p);
}

}  // namespace tsugi::cuda
