#include <cmath>
#include <limits>

#include "ops/attention/attention_bf16.h"
#include "ops/attention/attention_forward.h"
#include "ops/attention/attention_internal.h"
#include "ops/matmul/onednn_gemm.h"

namespace tsugi::cpu {

bool is_native_bf16(const AttentionShape& shape, const Dropout& dropout) {
  static const bool native = bf16_gemm_is_native() && __builtin_cpu_supports("avx512bf16") != 0;
  return native && shape.dtype == DType::kBF16 && shape.head_dim % 2 == 0 && shape.scale > 0.0f && !dropout.active() &&
         !shape.relative_bias.defined();
}

}  // namespace tsugi::cpu

HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
namespace tsugi::cpu {
namespace {

using bf16_dot::kWords;

/// What is known of the queries of a tile so far, and what the products of a block are formed in.
struct ForwardTile {
  explicit ForwardTile(int64_t head_dim) {
    ScratchLayout layout;
    queries = layout.add(head_dim / 2 * kQueryTile);
    values = layout.add(kKeyBlock / 2 * bf16_dot::whole_words(head_dim));
    scores = layout.add(kKeyBlock * kQueryTile);
    pairs = layout.add(kKeyBlock / 2 * kQueryTile);
    sums = layout.add(head_dim * kQueryTile);
    largest = layout.add(kQueryTile);
    total = layout.add(kQueryTile);
    factors = layout.add(kQueryTile);
    bytes = layout.bytes();
  }
  int64_t queries, values, scores, pairs, sums, largest, total, factors;
  size_t bytes;
};

/// The rows of a softmax, one in each lane, in base 2.
struct Softmax {
  float* largest;  ///< of the scores so far; -inf: none
  float* total;    ///< Σ 2^(score - largest)
  float* factors;  ///< what sums so far are to be multiplied by, now that `largest` may have grown
};

/// Takes `keys` rows of scores (times `scale` in base 2) into the softmax; `pairs` receives the probabilities up to a
/// factor of their query, keys in pairs.
template <int kVectors, bool kMasked>
void take_block(const BlockMask& mask, int64_t keys, float scale, const float* scores, const Softmax& softmax,
                uint32_t* pairs) {
  const __m512 factor = _mm512_set1_ps(scale);
  const auto scores_of = [&](int64_t key, int v) { return _mm512_load_ps(scores + key * kQueryTile + v * kWords); };
  const __m512 nothing = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  __m512 largest[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) largest[v] = nothing;
  for (int64_t key = 0; key < keys; ++key) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (kMasked) {
        largest[v] = _mm512_mask_max_ps(largest[v], seeing(mask, v, key), largest[v], scores_of(key, v));
      } else {
        largest[v] = _mm512_max_ps(largest[v], scores_of(key, v));
      }
    }
  }
  __m512 sums[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const __m512 before = _mm512_load_ps(softmax.largest + v * kWords);
    const __m512 now = _mm512_max_ps(before, _mm512_mul_ps(largest[v], factor));
    _mm512_store_ps(softmax.largest + v * kWords, now);
    largest[v] = _mm512_mask_mov_ps(now, _mm512_cmp_ps_mask(now, nothing, _CMP_EQ_OQ), _mm512_setzero_ps());
    const __m512 shrunk = bf16_dot::exp2(_mm512_sub_ps(before, largest[v]));
    _mm512_store_ps(softmax.factors + v * kWords, shrunk);
    sums[v] = _mm512_mul_ps(_mm512_load_ps(softmax.total + v * kWords), shrunk);
  }
  const auto probability = [&](int64_t key, int v) {
    const __m512 p = bf16_dot::exp2(_mm512_fmsub_ps(scores_of(key, v), factor, largest[v]));
    return kMasked ? _mm512_maskz_mov_ps(seeing(mask, v, key), p) : p;
  };
  for (int64_t key = 0; key < keys; key += 2) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __m512 first = probability(key, v);
      const __m512 second = key + 1 < keys ? probability(key + 1, v) : _mm512_setzero_ps();
      sums[v] = _mm512_add_ps(sums[v], _mm512_add_ps(first, second));
      _mm512_store_si512(pairs + key / 2 * kQueryTile + v * kWords, bf16_dot::pairs_of(first, second));
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) _mm512_store_ps(softmax.total + v * kWords, sums[v]);
}

template <int kVectors>
void take_block(const BlockMask& mask, int64_t keys, float scale, const float* scores, const Softmax& softmax,
                uint32_t* pairs) {
  if (mask.whole) return take_block<kVectors, false>(mask, keys, scale, scores, softmax, pairs);
  take_block<kVectors, true>(mask, keys, scale, scores, softmax, pairs);
}

void forward_tile_bf16(const Forward& f, const ForwardTile& at, int64_t b, int64_t h, int64_t tile, float* scratch) {
  const AttentionShape& shape = f.shape;
  const int64_t width = shape.head_dim;
  const Range queries = query_range(shape, tile);
  const Range visible = visible_keys(shape, b, queries);
  const int64_t lanes = bf16_dot::whole_words(queries.size());
  const int64_t kv_head = h / shape.group();
  const auto words = [&](int64_t piece) { return reinterpret_cast<uint32_t*>(scratch + piece); };
  const Softmax softmax{scratch + at.largest, scratch + at.total, scratch + at.factors};
  std::fill_n(softmax.largest, kQueryTile, -std::numeric_limits<float>::infinity());
  std::fill_n(softmax.total, kQueryTile, 0.0f);
  bf16_dot::transpose_pairs(head_pointer<const bf16>(f.q, b, h, queries.begin), f.q.token_stride, queries.size(), width,
                            {words(at.queries), kQueryTile});

  const int64_t first_block = visible.begin / kKeyBlock;
  for (int64_t j = first_block; j * kKeyBlock < visible.end; ++j) {
    const Range keys = key_block(visible, j);
    bf16_dot::product(keys.size(), lanes, width / 2,
                      {head_pointer<const bf16>(f.k, b, kv_head, keys.begin), 2 * f.k.token_stride, 4},
                      {words(at.queries), kQueryTile}, false, nullptr, {scratch + at.scores, kQueryTile});
    const BlockMask mask(shape, b, queries, keys);
    const auto take = [&]<int kVectors>() {
      take_block<kVectors>(mask, keys.size(), shape.scale * kLog2E, scratch + at.scores, softmax, words(at.pairs));
    };
    switch (lanes / kWords) {
      case 1:
        take.operator()<1>();
        break;
      case 2:
        take.operator()<2>();
        break;
      case 3:
        take.operator()<3>();
        break;
      default:
        take.operator()<4>();
    }
    const int64_t row = bf16_dot::whole_words(width);
    bf16_dot::join_rows(head_pointer<const bf16>(f.v, b, kv_head, keys.begin), f.v.token_stride, keys.size(), width,
                        {words(at.values), row});
    const bool first = j == first_block;
    bf16_dot::product(width, lanes, (keys.size() + 1) / 2, {words(at.values), 4, 4 * row},
                      {words(at.pairs), kQueryTile}, !first, first ? nullptr : softmax.factors,
                      {scratch + at.sums, kQueryTile});
  }

  if (visible.size() > 0) {
    for (int64_t r = 0; r < kQueryTile; ++r)
      softmax.factors[r] = softmax.total[r] == 0.0f ? 0.0f : 1 / softmax.total[r];
    bf16_dot::transpose_floats({scratch + at.sums, kQueryTile}, softmax.factors, queries.size(), width,
                               head_pointer<bf16>(f.out, b, h, queries.begin), f.out.token_stride);
  }
  for (int64_t r = 0; r < queries.size(); ++r) {
    const int64_t query = queries.begin + r;
    if (softmax.total[r] == 0.0f) {
      write_nothing<bf16>(f, b, h, query);
    } else if (f.log_sum_exp != nullptr) {
      f.log_sum_exp[f.row_of(b, h, query)] = (softmax.largest[r] + std::log2(softmax.total[r])) * kLn2;
    }
  }
}

}  // namespace

void run_native(const Forward& f, ThreadPool& pool) {
  const int64_t heads = f.shape.batch * f.shape.heads;
  const ForwardTile layout(f.shape.head_dim);
  const int64_t tiles = tiles_of(f.shape.query_tokens, kQueryTile);
  pool.for_each(heads * tiles, [&](int64_t index, int worker) {
    float* const scratch = static_cast<float*>(pool.scratch(worker, layout.bytes));
    const int64_t head = index / tiles;
    const int64_t tile = tiles - 1 - index % tiles;  // the longest first
    forward_tile_bf16(f, layout, head / f.shape.heads, head % f.shape.heads, tile, scratch);
  });
}

}  // namespace tsugi::cpu
HWY_POP_ATTRIBUTES
