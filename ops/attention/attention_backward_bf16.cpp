#include <limits>

#include "ops/attention/attention_backward.h"
#include "ops/attention/attention_bf16.h"

HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
namespace tsugi::cpu {
namespace {

using bf16_dot::kTileRows;
using bf16_dot::kWords;

/// Scratch of a part. Sums over query tiles lie in it whole; sums over keys are those of the query tile at hand.
struct NativeLayout {
  NativeLayout(const AttentionShape& shape, int64_t keys) {
    ScratchLayout layout;
    row = bf16_dot::whole_words(shape.head_dim);
    key_pairs = layout.add((keys + 1) / 2 * row);
    dk = layout.add(keys * row);
    dv = layout.add(keys * row);
    q_columns = layout.add(shape.head_dim / 2 * kQueryTile);
    d_out_columns = layout.add(shape.head_dim / 2 * kQueryTile);
    q_pairs = layout.add(kQueryTile / 2 * row);
    d_out_pairs = layout.add(kQueryTile / 2 * row);
    dq = layout.add(shape.head_dim * kQueryTile);
    scores = layout.add(kTileRows * kQueryTile);
    d_scores = layout.add(kTileRows * kQueryTile);
    p_rows = layout.add(kKeyBlock * kQueryTile / 2);
    ds_rows = layout.add(kKeyBlock * kQueryTile / 2);
    ds_pairs = layout.add(kKeyBlock / 2 * kQueryTile);
    shift = layout.add(kQueryTile);
    delta = layout.add(kQueryTile);
    bytes = layout.bytes();
  }
  int64_t row;  ///< words of a row of head_dim pairs or floats
  int64_t key_pairs, dk, dv, q_columns, d_out_columns, q_pairs, d_out_pairs, dq, scores, d_scores, p_rows, ds_rows,
      ds_pairs, shift, delta;
  size_t bytes;
};

/// A pair of blocks: `keys` keys of a block from `first` on.
struct ScoreRows {
  int64_t first, keys;
  const float* scores;    ///< [keys][kQueryTile] q·k
  const float* d_scores;  ///< likewise d_out·v
  const float* shift;     ///< of each query, log_sum_exp in base 2
  const float* delta;
  float scale;  ///< of q·k, in base 2
};

/// Where bf16 goes: probabilities and the gradients of scores, [keys][kQueryTile], and these with keys in pairs.
struct DifferentiatedBlock {
  bf16* p;
  bf16* ds;
  uint32_t* ds_pairs;
};

template <bool kMasked>
void differentiate(const BlockMask& mask, int64_t lanes, const ScoreRows& rows, const DifferentiatedBlock& to) {
  for (int64_t v = 0; v < lanes; v += kWords) {
    const __m512 shift = _mm512_load_ps(rows.shift + v);
    const __m512 delta = _mm512_load_ps(rows.delta + v);
    const __m512 scale = _mm512_set1_ps(rows.scale);
    const auto one = [&](int64_t row) {
      const int64_t key = rows.first + row;
      const int64_t at = row * kQueryTile + v;
      __m512 p = bf16_dot::exp2(_mm512_fmsub_ps(_mm512_load_ps(rows.scores + at), scale, shift));
      if constexpr (kMasked) p = _mm512_maskz_mov_ps(seeing(mask, v / kWords, key), p);
      const __m512 ds = _mm512_mul_ps(p, _mm512_sub_ps(_mm512_load_ps(rows.d_scores + at), delta));
      const int64_t target = key * kQueryTile + v;
      _mm256_store_si256(reinterpret_cast<__m256i*>(to.p + target), std::bit_cast<__m256i>(_mm512_cvtneps_pbh(p)));
      _mm256_store_si256(reinterpret_cast<__m256i*>(to.ds + target), std::bit_cast<__m256i>(_mm512_cvtneps_pbh(ds)));
      return ds;
    };
    for (int64_t row = 0; row < rows.keys; row += 2) {
      const __m512 first = one(row);
      const __m512 second = row + 1 < rows.keys ? one(row + 1) : _mm512_setzero_ps();
      _mm512_store_si512(to.ds_pairs + (rows.first + row) / 2 * kQueryTile + v, bf16_dot::pairs_of(first, second));
    }
  }
}

/// One part on one thread.
class NativePart {
 public:
  NativePart(const Backward& g, const NativeLayout& layout, const Part& part, float* scratch)
      : g_(g),
        shape_(g.shape),
        at_(layout),
        part_(part),
        scratch_(scratch),
        kv_head_(part.heads.begin / g.shape.group()),
        keys_{part.key_tiles.begin * kKeyTile, std::min(part.key_tiles.end * kKeyTile, g.shape.key_tokens)} {}

  void run() {
    if (part_.want_dq) {
      bf16_dot::join_rows(rows(g_.k, kv_head_, keys_.begin), g_.k.token_stride, keys_.size(), shape_.head_dim,
                          {words(at_.key_pairs), at_.row});
    }
    if (part_.want_dkv) {
      std::fill_n(scratch_ + at_.dk, keys_.size() * at_.row, 0.0f);
      std::fill_n(scratch_ + at_.dv, keys_.size() * at_.row, 0.0f);
    }
    for (int64_t h = part_.heads.begin; h < part_.heads.end; ++h) {
      for (int64_t i = part_.query_tiles.begin; i < part_.query_tiles.end; ++i) query_tile(h, query_range(shape_, i));
    }
    if (!part_.want_dkv) return;
    round_rows(scratch_ + at_.dk, shape_.scale, g_.dk);
    round_rows(scratch_ + at_.dv, 1.0f, g_.dv);
  }

 private:
  uint32_t* words(int64_t piece) const { return reinterpret_cast<uint32_t*>(scratch_ + piece); }
  bf16* halves(int64_t piece) const { return reinterpret_cast<bf16*>(scratch_ + piece); }
  const bf16* rows(const HeadsView& view, int64_t head, int64_t token) const {
    return head_pointer<const bf16>(view, part_.batch, head, token);
  }

  void query_tile(int64_t h, Range queries) {
    const Range visible = visible_keys(shape_, part_.batch, queries);
    const Range blocks{std::max(visible.begin, keys_.begin) / kKeyBlock,
                       tiles_of(std::min(visible.end, keys_.end), kKeyBlock)};
    if (part_.want_dq) std::fill_n(scratch_ + at_.dq, shape_.head_dim * kQueryTile, 0.0f);
    if (blocks.size() > 0) {
      load_queries(h, queries);
      for (int64_t j = blocks.begin; j < blocks.end; ++j) pair(queries, key_block(visible, j));
    }
    if (!part_.want_dq) return;
    std::fill_n(scratch_ + at_.shift, kQueryTile, shape_.scale);
    bf16_dot::transpose_floats({scratch_ + at_.dq, kQueryTile}, scratch_ + at_.shift, queries.size(), shape_.head_dim,
                               head_pointer<bf16>(g_.dq, part_.batch, h, queries.begin), g_.dq.token_stride);
  }

  void load_queries(int64_t h, Range queries) {
    const int64_t count = queries.size();
    const int64_t width = shape_.head_dim;
    const bf16* const q = rows(g_.q, h, queries.begin);
    const bf16* const d_out = rows(g_.d_out, h, queries.begin);
    bf16_dot::transpose_pairs(q, g_.q.token_stride, count, width, {words(at_.q_columns), kQueryTile});
    bf16_dot::transpose_pairs(d_out, g_.d_out.token_stride, count, width, {words(at_.d_out_columns), kQueryTile});
    if (part_.want_dkv) {
      // Lanes beyond the queries are steps of the products with these: they are to be zeros.
      const int64_t used = bf16_dot::whole_words(count) / 2 * at_.row;
      std::fill_n(words(at_.q_pairs), used, 0u);
      std::fill_n(words(at_.d_out_pairs), used, 0u);
      bf16_dot::join_rows(q, g_.q.token_stride, count, width, {words(at_.q_pairs), at_.row});
      bf16_dot::join_rows(d_out, g_.d_out.token_stride, count, width, {words(at_.d_out_pairs), at_.row});
    }
    std::fill_n(scratch_ + at_.delta, kQueryTile, 0.0f);
    find_delta<bf16>(g_, part_.batch, h, queries, scratch_ + at_.delta);
    const float* const log_sum_exp =
        g_.log_sum_exp + (part_.batch * shape_.heads + h) * shape_.query_tokens + queries.begin;
    for (int64_t r = 0; r < kQueryTile; ++r) {
      // Where no key is seen, and behind the last query, probabilities are to be zeros.
      const bool sees = r < count && log_sum_exp[r] != -std::numeric_limits<float>::infinity();
      scratch_[at_.shift + r] = sees ? log_sum_exp[r] * kLog2E : std::numeric_limits<float>::max();
    }
  }

  void pair(Range queries, Range keys) {
    const BlockMask mask(shape_, part_.batch, queries, keys);
    const int64_t width = shape_.head_dim;
    const int64_t lanes = bf16_dot::whole_words(queries.size());
    const DifferentiatedBlock block{halves(at_.p_rows), halves(at_.ds_rows), words(at_.ds_pairs)};
    for (int64_t first = 0; first < keys.size(); first += kTileRows) {
      const int64_t count = std::min(kTileRows, keys.size() - first);
      const auto scores = [&](const HeadsView& left, int64_t columns, int64_t to) {
        bf16_dot::product(count, lanes, width / 2, {rows(left, kv_head_, keys.begin + first), 2 * left.token_stride, 4},
                          {words(columns), kQueryTile}, false, nullptr, {scratch_ + to, kQueryTile});
      };
      scores(g_.k, at_.q_columns, at_.scores);
      scores(g_.v, at_.d_out_columns, at_.d_scores);
      const ScoreRows of{first,
                         count,
                         scratch_ + at_.scores,
                         scratch_ + at_.d_scores,
                         scratch_ + at_.shift,
                         scratch_ + at_.delta,
                         shape_.scale * kLog2E};
      if (mask.whole) {
        differentiate<false>(mask, lanes, of, block);
      } else {
        differentiate<true>(mask, lanes, of, block);
      }
    }
    if (part_.want_dkv) {
      const auto add = [&](const bf16* left, int64_t right, int64_t to) {
        bf16_dot::product(keys.size(), at_.row, lanes / 2, {left, 2 * kQueryTile, 4}, {words(right), at_.row}, true,
                          nullptr, {scratch_ + to + (keys.begin - keys_.begin) * at_.row, at_.row});
      };
      add(block.p, at_.d_out_pairs, at_.dv);
      add(block.ds, at_.q_pairs, at_.dk);
    }
    if (part_.want_dq) {
      const uint32_t* const k = words(at_.key_pairs) + (keys.begin - keys_.begin) / 2 * at_.row;
      bf16_dot::product(width, lanes, (keys.size() + 1) / 2, {k, 4, 4 * at_.row}, {block.ds_pairs, kQueryTile}, true,
                        nullptr, {scratch_ + at_.dq, kQueryTile});
    }
  }

  /// The part's rows of dk or dv, times `factor`.
  void round_rows(const float* sums, float factor, const HeadsView& to) const {
    const __m512 scale = _mm512_set1_ps(factor);
    for (int64_t key = 0; key < keys_.size(); ++key) {
      bf16* const row = head_pointer<bf16>(to, part_.batch, kv_head_, keys_.begin + key);
      for (int64_t d = 0; d < shape_.head_dim; d += kWords) {
        const __m512 values = _mm512_mul_ps(_mm512_load_ps(sums + key * at_.row + d), scale);
        _mm256_mask_storeu_epi16(row + d, bf16_dot::first_lanes(shape_.head_dim - d),
                                 std::bit_cast<__m256i>(_mm512_cvtneps_pbh(values)));
      }
    }
  }

  const Backward& g_;
  const AttentionShape& shape_;
  const NativeLayout& at_;
  const Part& part_;
  float* scratch_;
  int64_t kv_head_;
  Range keys_;
};

}  // namespace

void run_native(const Backward& g, ThreadPool& pool) {
  for_each_part(g, pool, [&](const Part& part, int worker, int64_t, int64_t) {
    const int64_t keys = std::min(part.key_tiles.size() * kKeyTile, g.shape.key_tokens);
    const NativeLayout layout(g.shape, keys);
    NativePart(g, layout, part, static_cast<float*>(pool.scratch(worker, layout.bytes))).run();
  });
}

}  // namespace tsugi::cpu
HWY_POP_ATTRIBUTES
