#include <string>

#include "ops/attention/attention_mma.cuh"
#include "ops/base/error.h"

namespace tsugi::cuda {
namespace {

constexpr int kKeys = 64;  // of a tile
constexpr int kBlocks = kKeys / 8;

struct Forward {
  DeviceAttentionShape shape;
  DeviceHeads q, k, v;
  DropoutKey dropout;
  bf16* out;
  float* log_sum_exp;
};

template <int D, int M>
struct ForwardShared {
  Tile<64 * M, D> q;
  Tile<kKeys, D> k[2];
  Tile<kKeys, D> v[2];
  RangeScratch ranges;
};

/// A block owns 64·M queries of a head, a warp 16·M of them, whose scores, statistics and results stay in registers.
template <int D, int M, bool Dropping, bool Biased>
TSUGI_KERNEL(kAttentionThreads, 2)
attend(Forward p) {
  auto& s = dev::shared<ForwardShared<D, M>>();
  const DeviceAttentionShape& shape = p.shape;
  constexpr int kQueries = 64 * M;
  // Causal tiles at the end have the most keys: they go first.
  const int query0 = static_cast<int>(dev::grid_size().x - 1 - dev::block_index().x) * kQueries;
  const int head = static_cast<int>(dev::block_index().y);
  const int batch = static_cast<int>(dev::block_index().z);
  const int key_head = head / (shape.heads / shape.key_heads);
  const int lane = dev::lane_index();
  const int warp_row = dev::warp_index() * 16 * M;

  s.q.fetch(head_of(p.q, batch, query0, head), p.q.token_stride, shape.query_tokens - query0, shape.head_dim);
  dev::copy_async_commit();
  const bool has_query = dev::thread_index() < kQueries && query0 + dev::thread_index() < shape.query_tokens;
  const KeyRange own = has_query ? keys_of(shape, batch, query0 + dev::thread_index()) : KeyRange{0x7FFFFFFF, 0};
  const TileRange range = combine_ranges(own, has_query, s.ranges);
  KeyRange rows[M][2];
  TSUGI_UNROLL
  for (int m = 0; m < M; ++m) {
    TSUGI_UNROLL
    for (int h = 0; h < 2; ++h) rows[m][h] = keys_of(shape, batch, query0 + warp_row + m * 16 + lane / 4 + 8 * h);
  }

  const auto fetch = [&](int key, int stage) {
    s.k[stage].fetch(head_of(p.k, batch, key, key_head), p.k.token_stride, shape.key_tokens - key, shape.head_dim);
    s.v[stage].fetch(head_of(p.v, batch, key, key_head), p.v.token_stride, shape.key_tokens - key, shape.head_dim);
    dev::copy_async_commit();
  };
  const int begin = range.first < range.end ? range.first / kKeys * kKeys : 0;
  const int end = range.first < range.end ? range.end : 0;
  if (begin < end) fetch(begin, 0);

  constexpr float kInfinity = __builtin_huge_valf();
  const float scale_log2 = shape.scale * dev::kLog2E;
  float out[M][D / 8][4], largest[M][2], sums[M][2];
  TSUGI_UNROLL
  for (int m = 0; m < M; ++m) {
    clear(out[m]);
    largest[m][0] = largest[m][1] = -kInfinity;
    sums[m][0] = sums[m][1] = 0.0f;
  }

  int stage = 0;
  for (int key0 = begin; key0 < end; key0 += kKeys, stage ^= 1) {
    dev::copy_async_wait<0>();
    dev::sync_threads();  // this tile is there for all, and all have left the other one
    if (key0 + kKeys < end) fetch(key0 + kKeys, stage ^ 1);
    const bool masked = !range.whole(key0, key0 + kKeys);
    [[maybe_unused]] uint32_t kept[M];
    TSUGI_UNROLL
    for (int m = 0; m < M; ++m) {
      if constexpr (Dropping) {
        kept[m] = kept_scores<kBlocks, false>(p.dropout, shape, batch, head, query0 + warp_row + m * 16, key0);
      }
    }
    float all_scores[M][kBlocks][4];
    TSUGI_UNROLL
    for (int m = 0; m < M; ++m) {
      if constexpr (Biased) {
        begin_with_bias<kBlocks>(all_scores[m], shape, head, [&](int n, int i) {
          return key0 - query0 - warp_row - m * 16 - lane / 4 - 8 * (i / 2) + n * 8 + lane % 4 * 2 + i % 2;
        });
      } else {
        clear(all_scores[m]);
      }
    }
    multiply_transposed<M, kBlocks>(all_scores, s.q, warp_row, s.k[stage]);
    TSUGI_UNROLL
    for (int m = 0; m < M; ++m) {
      float(&scores)[kBlocks][4] = all_scores[m];
      if (masked) {
        TSUGI_UNROLL
        for (int n = 0; n < kBlocks; ++n) {
          TSUGI_UNROLL
          for (int i = 0; i < 4; ++i) {
            const int key = key0 + n * 8 + lane % 4 * 2 + i % 2;
            if (key < rows[m][i / 2].first || key >= rows[m][i / 2].end) scores[n][i] = -kInfinity;
          }
        }
      }
      TSUGI_UNROLL
      for (int h = 0; h < 2; ++h) {
        float most = largest[m][h];
        TSUGI_UNROLL
        for (const float(&block)[4] : scores) {
          most = dev::maximum(most, dev::maximum(block[2 * h], block[2 * h + 1]));
        }
        most = dev::maximum(most, dev::shuffle_xor(most, 1));
        most = dev::maximum(most, dev::shuffle_xor(most, 2));
        // A row that has seen no key yet: exp2(-inf - 0) = 0 everywhere, and no inf - inf.
        const float shift = most == -kInfinity ? 0.0f : most * scale_log2;
        const float shrink = dev::exp2(largest[m][h] * scale_log2 - shift);
        largest[m][h] = most;
        sums[m][h] *= shrink;
        TSUGI_UNROLL
        for (int n = 0; n < D / 8; ++n) {
          out[m][n][2 * h] *= shrink;
          out[m][n][2 * h + 1] *= shrink;
        }
        TSUGI_UNROLL
        for (float(&block)[4] : scores) {
          TSUGI_UNROLL
          for (int i = 2 * h; i < 2 * h + 2; ++i) {
            block[i] = dev::exp2(dev::fma(block[i], scale_log2, -shift));
            sums[m][h] += block[i];
          }
        }
        if constexpr (Dropping) {
          TSUGI_UNROLL
          for (int n = 0; n < kBlocks; ++n) {
            TSUGI_UNROLL
            for (int i = 2 * h; i < 2 * h + 2; ++i) {
              scores[n][i] =
                  (kept[m] >> kept_bit<kBlocks>(n, i) & 1u) != 0 ? scores[n][i] * p.dropout.keep_scale : 0.0f;
            }
          }
        }
      }
    }
    multiply_accumulators<M, kBlocks, D>(out, all_scores, s.v[stage]);
  }
  // The queries, where there was no key: each thread has waited for its own copies alone.
  dev::copy_async_wait<0>();
  dev::sync_threads();

  // Results leave through the warp's own rows of the query tile, so that stores to global memory are 16 bytes wide.
  TSUGI_UNROLL
  for (int m = 0; m < M; ++m) {
    TSUGI_UNROLL
    for (int h = 0; h < 2; ++h) {
      float sum = sums[m][h];
      sum += dev::shuffle_xor(sum, 1);
      sum += dev::shuffle_xor(sum, 2);
      const float inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
      const int row = warp_row + m * 16 + lane / 4 + 8 * h;
      TSUGI_UNROLL
      for (int n = 0; n < D / 8; ++n) {
        const dev::Vector<bf16, 2> pair{dev::to_bf16(out[m][n][2 * h] * inverse),
                                        dev::to_bf16(out[m][n][2 * h + 1] * inverse)};
        s.q.data.store(row * D + (n ^ (row & 7)) * 8 + lane % 4 * 2, pair);
      }
      if (lane % 4 == 0 && p.log_sum_exp != nullptr && query0 + row < shape.query_tokens) {
        const float value = sum > 0.0f ? largest[m][h] * shape.scale + dev::log(sum) : kInfinity;
        dev::store(
            p.log_sum_exp + (static_cast<int64_t>(batch) * shape.heads + head) * shape.query_tokens + query0 + row,
            value);
      }
    }
  }
  dev::sync_warp();
  const int64_t stride = static_cast<int64_t>(shape.heads) * shape.head_dim;
  for (int i = lane; i < 16 * M * (D / 8); i += 32) {
    const int row = warp_row + i / (D / 8);
    const int chunk = i % (D / 8);
    if (query0 + row >= shape.query_tokens || chunk * 8 >= shape.head_dim) continue;
    const int64_t at = static_cast<int64_t>(batch) * shape.query_tokens + query0 + row;
    dev::store_vector(p.out + at * stride + head * shape.head_dim + chunk * 8,
                      s.q.data.template load<8>(row * D + (chunk ^ (row & 7)) * 8));
  }
}

template <int D, int M>
void launch_forward(Stream& stream, const Forward& p) {
  const LaunchSize size{{tiles_of(p.shape.query_tokens, 64 * M), static_cast<unsigned>(p.shape.heads),
                         static_cast<unsigned>(p.shape.batch)},
                        kAttentionThreads,
                        sizeof(ForwardShared<D, M>)};
  if (p.shape.relative_bias != nullptr) {
    launch(stream, p.dropout.active() ? attend<D, M, true, true> : attend<D, M, false, true>, size, p);
  } else {
    launch(stream, p.dropout.active() ? attend<D, M, true, false> : attend<D, M, false, false>, size, p);
  }
}

}  // namespace

void check_attention(const DeviceAttentionShape& shape) {
  if (shape.head_dim < 8 || shape.head_dim > 128 || shape.head_dim % 8 != 0) {
    throw Error(ExitCode::kUsage, "CUDA: attention with heads of " + std::to_string(shape.head_dim) + " elements",
                "a head must be a multiple of 8, up to 128");
  }
}

void check_attention(const DeviceAttentionShape& shape, AttentionKernel kernel) {
  check_attention(shape);
  if (kernel == AttentionKernel::kMma || shape.relative_bias == nullptr) return;
  throw Error(ExitCode::kUsage, "CUDA: attention by wgmma with positions by distance is not built",
              "set compute.attention: MMA");
}

void check_attention(AttentionKernel kernel, const DropoutKey& dropout) {
  if (kernel == AttentionKernel::kMma) return;
  if (dropout.active()) {
    throw Error(ExitCode::kUsage, "CUDA: attention by wgmma with dropout is not built",
                "set compute.attention: MMA, or model.dropout: 0");
  }
  if (has_wgmma()) return;
  throw Error(ExitCode::kUsage, "CUDA: attention by wgmma needs a device of compute capability 9.0",
              "set compute.attention: MMA");
}

void attention_forward(Stream& stream, const DeviceAttentionShape& shape, const DeviceHeads& q, const DeviceHeads& k,
                       const DeviceHeads& v, const DropoutKey& dropout, bf16* out, float* log_sum_exp,
                       AttentionKernel kernel) {
  check_attention(shape, kernel);
  check_attention(kernel, dropout);
  if (kernel != AttentionKernel::kMma) {
    attention_forward_hopper(stream, shape, q, k, v, kernel == AttentionKernel::kPingPong, out, log_sum_exp);
    return;
  }
  const Forward p{shape, q, k, v, dropout, out, log_sum_exp};
  if (shape.head_dim <= 64) {
    launch_forward<64, 2>(stream, p);
  } else {
    launch_forward<128, 1>(stream, p);
  }
}

}  // namespace tsugi::cuda
