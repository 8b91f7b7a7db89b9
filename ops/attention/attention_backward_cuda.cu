#include "ops/attention/attention_backward.cuh"
#include "ops/attention/attention_mma.cuh"

namespace tsugi::cuda {
namespace {

constexpr int kKeys = 64;     // of a tile that a block owns, or visits in the pass for dq
constexpr int kQueries = 64;  // of a tile that a block owns in the pass for dq
static_assert(kQueries == kBiasQueries);

constexpr int kDerivativeStride = kKeys + 8;  // of rows in shared memory: eight rows side by side in its banks

/// `Lanes` lanes per query and head, 8 elements each.
template <int Lanes>
TSUGI_KERNEL(kAttentionThreads, 8)
sum_products(AttentionBackward p) {
  const int64_t rows = static_cast<int64_t>(p.shape.batch) * p.shape.query_tokens * p.shape.heads;
  const int64_t row = (static_cast<int64_t>(dev::block_index().x) * kAttentionThreads + dev::thread_index()) / Lanes;
  const int d = dev::thread_index() % Lanes * 8;
  float sum = 0.0f;
  if (row < rows && d < p.shape.head_dim) {
    const dev::Vector<bf16, 8> a = dev::load_vector<8>(p.out + row * p.shape.head_dim + d);
    const dev::Vector<bf16, 8> b = dev::load_vector<8>(p.d_out + row * p.shape.head_dim + d);
    TSUGI_UNROLL
    for (int i = 0; i < 8; ++i) sum += dev::to_float(a[i]) * dev::to_float(b[i]);
  }
  TSUGI_UNROLL
  for (int mask = Lanes / 2; mask > 0; mask /= 2) sum += dev::shuffle_xor(sum, mask);
  if (d > 0 || row >= rows) return;
  const int head = static_cast<int>(row % p.shape.heads);
  const int64_t at = row / p.shape.heads;
  const int batch = static_cast<int>(at / p.shape.query_tokens);
  dev::store(p.delta + p.statistic(batch, head, static_cast<int>(at % p.shape.query_tokens)), sum);
}

/// A block per tile of `size` queries.
TSUGI_KERNEL(kAttentionThreads, 8)
find_ranges(AttentionBackward p, int size) {
  const int tile = static_cast<int>(dev::block_index().x);
  const int batch = static_cast<int>(dev::block_index().y);
  const int query = tile * size + dev::thread_index();
  const bool has_query = dev::thread_index() < size && query < p.shape.query_tokens;
  const KeyRange own = has_query ? keys_of(p.shape, batch, query) : KeyRange{0x7FFFFFFF, 0};
  const TileRange range = combine_ranges(own, has_query, dev::shared<RangeScratch>());
  if (dev::thread_index() == 0) dev::store(p.ranges + batch * p.query_tiles + tile, range);
}

template <int D, int Queries>
struct KeyShared {
  Tile<kKeys, D> k;
  Tile<kKeys, D> v;
  Tile<Queries, D> q[2];
  Tile<Queries, D> d_out[2];
  dev::SharedArray<float, 2 * Queries> log2_sums;
  dev::SharedArray<float, 2 * Queries> deltas;
  dev::SharedArray<int, 2 * Queries> first_keys;
  dev::SharedArray<int, 2 * Queries> end_keys;
};

/// Rows of bf16 from accumulators: row `row` of the warp's 16 is row base + row of the matrix.
template <int D>
TSUGI_DEVICE void store_rows(const DeviceHeads& to, int batch, int head, int base, int tokens, int head_dim,
                             const float (&sums)[D / 8][4], float scale) {
  const int lane = dev::lane_index();
  TSUGI_UNROLL
  for (int h = 0; h < 2; ++h) {
    const int token = base + lane / 4 + 8 * h;
    if (token >= tokens) continue;
    bf16* row = const_cast<bf16*>(head_of(to, batch, token, head));
    TSUGI_UNROLL
    for (int n = 0; n < D / 8; ++n) {
      if (n * 8 >= head_dim) continue;
      const dev::Vector<bf16, 2> pair{dev::to_bf16(sums[n][2 * h] * scale), dev::to_bf16(sums[n][2 * h + 1] * scale)};
      dev::store_vector(row + n * 8 + lane % 4 * 2, pair);
    }
  }
}

/// A block owns 64 keys of a key head, a warp 16 of them, and visits the tiles of queries of every query head that
/// reads it, in order. Scores are formed transposed ([keys, queries]): then probabilities and their derivatives are
/// already the first operands of the products for dv and dk, and never leave the registers.
template <int D, int Queries, bool Dropping, bool Biased>
TSUGI_KERNEL(kAttentionThreads, D == 64 ? 2 : 1)
differentiate_keys(AttentionBackward p) {
  auto& s = dev::shared<KeyShared<D, Queries>>();
  const DeviceAttentionShape& shape = p.shape;
  constexpr int kBlocks = Queries / 8;
  const int key0 = static_cast<int>(dev::block_index().x) * kKeys;
  const int key_head = static_cast<int>(dev::block_index().y);
  const int batch = static_cast<int>(dev::block_index().z);
  const int group = shape.heads / shape.key_heads;
  const int lane = dev::lane_index();
  const int warp_row = dev::warp_index() * 16;
  const float scale_log2 = shape.scale * dev::kLog2E;

  // Visits are numbered through the heads of the group and their tiles; those that see none of the keys are skipped.
  const int visits = group * p.query_tiles;
  const auto next_visit = [&](int visit) {
    while (visit < visits &&
           !dev::load(p.ranges + batch * p.query_tiles + visit % p.query_tiles).overlaps(key0, key0 + kKeys)) {
      ++visit;
    }
    return visit;
  };
  const auto fetch = [&](int visit, int stage) {
    const int head = key_head * group + visit / p.query_tiles;
    const int query0 = visit % p.query_tiles * Queries;
    const int left = shape.query_tokens - query0;
    s.q[stage].fetch(head_of(p.q, batch, query0, head), p.q.token_stride, left, shape.head_dim);
    s.d_out[stage].fetch(p.d_out_of(batch, query0, head), p.d_out_stride(), left, shape.head_dim);
    dev::copy_async_commit();
    if (dev::thread_index() < Queries) {
      const QueryStatistics x = statistics_of(p, batch, head, query0 + dev::thread_index());
      const int slot = stage * Queries + dev::thread_index();
      s.log2_sums[slot] = x.log2_sum;
      s.deltas[slot] = x.delta;
      s.first_keys[slot] = x.keys.first;
      s.end_keys[slot] = x.keys.end;
    }
  };
  s.k.fetch(head_of(p.k, batch, key0, key_head), p.k.token_stride, shape.key_tokens - key0, shape.head_dim);
  s.v.fetch(head_of(p.v, batch, key0, key_head), p.v.token_stride, shape.key_tokens - key0, shape.head_dim);
  dev::copy_async_commit();
  int visit = next_visit(0);
  if (visit < visits) fetch(visit, 0);

  float dk[D / 8][4], dv[D / 8][4];
  clear(dk);
  clear(dv);
  for (int stage = 0; visit < visits; stage ^= 1) {
    const int following = next_visit(visit + 1);
    dev::copy_async_wait<0>();
    dev::sync_threads();
    if (following < visits) fetch(following, stage ^ 1);
    [[maybe_unused]] const int head = key_head * group + visit / p.query_tiles;
    [[maybe_unused]] const int query0 = visit % p.query_tiles * Queries;

    uint32_t kept = 0;
    if constexpr (Dropping) {
      kept = kept_scores<kBlocks, true>(p.dropout, shape, batch, head, query0, key0 + warp_row);
    }
    float scores[kBlocks][4], d_scores[kBlocks][4];
    if constexpr (Biased) {
      begin_with_bias<kBlocks>(scores, shape, head, [&](int n, int i) {
        return key0 - query0 + warp_row + lane / 4 + 8 * (i / 2) - n * 8 - lane % 4 * 2 - i % 2;
      });
    } else {
      clear(scores);
    }
    clear(d_scores);
    multiply_transposed<1, kBlocks>(&scores, s.k, warp_row, s.q[stage]);
    multiply_transposed<1, kBlocks>(&d_scores, s.v, warp_row, s.d_out[stage]);
    TSUGI_UNROLL
    for (int n = 0; n < kBlocks; ++n) {
      TSUGI_UNROLL
      for (int j = 0; j < 2; ++j) {
        const int column = n * 8 + lane % 4 * 2 + j;
        const int slot = stage * Queries + column;
        const float log2_sum = s.log2_sums[slot];
        const float delta = s.deltas[slot];
        const int first = s.first_keys[slot];
        const int end = s.end_keys[slot];
        TSUGI_UNROLL
        for (int h = 0; h < 2; ++h) {
          const int key = key0 + warp_row + lane / 4 + 8 * h;
          const int i = 2 * h + j;
          const float factor = !Dropping                                     ? 1.0f
                               : (kept >> kept_bit<kBlocks>(n, i) & 1u) != 0 ? p.dropout.keep_scale
                                                                             : 0.0f;
          const Element e =
              derive(scores[n][i], key >= first && key < end, scale_log2, log2_sum, d_scores[n][i], delta, factor);
          scores[n][i] = e.dropped;
          d_scores[n][i] = e.d_score;
        }
      }
    }
    multiply_accumulators<1, kBlocks, D>(&dv, &scores, s.d_out[stage]);
    multiply_accumulators<1, kBlocks, D>(&dk, &d_scores, s.q[stage]);
    visit = following;
  }
  dev::copy_async_wait<0>();
  store_rows<D>(p.dk, batch, key_head, key0 + warp_row, shape.key_tokens, shape.head_dim, dk, shape.scale);
  store_rows<D>(p.dv, batch, key_head, key0 + warp_row, shape.key_tokens, shape.head_dim, dv, 1.0f);
}

template <int D, bool Biased>
struct QueryShared {
  Tile<kQueries, D> q;
  Tile<kQueries, D> d_out;
  Tile<kKeys, D> k[2];
  Tile<kKeys, D> v[2];
  RangeScratch ranges;
  dev::SharedArray<float, Biased ? kQueries * kDerivativeStride : 4> d_scores;
};

/// Adds a tile's derivatives of scores to the sums of its queries by distance: thread t sums the diagonal of distance
/// t - 63, from its top.
template <int Blocks, class Shared>
TSUGI_DEVICE void add_diagonals(Shared& s, const float (&d_scores)[Blocks][4], float* sums) {
  const int lane = dev::lane_index();
  TSUGI_UNROLL
  for (int n = 0; n < Blocks; ++n) {
    TSUGI_UNROLL
    for (int h = 0; h < 2; ++h) {
      const int row = dev::warp_index() * 16 + lane / 4 + 8 * h;
      s.d_scores.store(row * kDerivativeStride + n * 8 + lane % 4 * 2,
                       dev::Vector<float, 2>{d_scores[n][2 * h], d_scores[n][2 * h + 1]});
    }
  }
  dev::sync_threads();
  const int distance = dev::thread_index() - (kQueries - 1);
  if (distance < kKeys) {
    float sum = 0.0f;
    for (int row = distance < 0 ? -distance : 0; row < kQueries && row + distance < kKeys; ++row) {
      const float one = s.d_scores[row * kDerivativeStride + row + distance];
      sum += one;
    }
    float* const to = sums + dev::thread_index();
    dev::store(to, dev::load(to) + sum);
  }
}

/// A block owns 64 queries of a head, a warp 16 of them, and visits the tiles of keys that they see.
template <int D, bool Dropping, bool Biased>
TSUGI_KERNEL(kAttentionThreads, D == 64 ? 2 : 1)
differentiate_queries(AttentionBackward p) {
  auto& s = dev::shared<QueryShared<D, Biased>>();
  const DeviceAttentionShape& shape = p.shape;
  constexpr int kBlocks = kKeys / 8;
  const int query0 = static_cast<int>(dev::grid_size().x - 1 - dev::block_index().x) * kQueries;
  const int head = static_cast<int>(dev::block_index().y);
  const int batch = static_cast<int>(dev::block_index().z);
  const int key_head = head / (shape.heads / shape.key_heads);
  const int lane = dev::lane_index();
  const int warp_row = dev::warp_index() * 16;
  const float scale_log2 = shape.scale * dev::kLog2E;

  const int left = shape.query_tokens - query0;
  s.q.fetch(head_of(p.q, batch, query0, head), p.q.token_stride, left, shape.head_dim);
  s.d_out.fetch(p.d_out_of(batch, query0, head), p.d_out_stride(), left, shape.head_dim);
  dev::copy_async_commit();
  const bool has_query = dev::thread_index() < kQueries && dev::thread_index() < left;
  const KeyRange own = has_query ? keys_of(shape, batch, query0 + dev::thread_index()) : KeyRange{0x7FFFFFFF, 0};
  const TileRange range = combine_ranges(own, has_query, s.ranges);
  QueryStatistics rows[2];
  TSUGI_UNROLL
  for (int h = 0; h < 2; ++h) rows[h] = statistics_of(p, batch, head, query0 + warp_row + lane / 4 + 8 * h);

  const auto fetch = [&](int key, int stage) {
    s.k[stage].fetch(head_of(p.k, batch, key, key_head), p.k.token_stride, shape.key_tokens - key, shape.head_dim);
    s.v[stage].fetch(head_of(p.v, batch, key, key_head), p.v.token_stride, shape.key_tokens - key, shape.head_dim);
    dev::copy_async_commit();
  };
  const int begin = range.first < range.end ? range.first / kKeys * kKeys : 0;
  const int end = range.first < range.end ? range.end : 0;
  if (begin < end) fetch(begin, 0);

  float dq[D / 8][4];
  clear(dq);
  int stage = 0;
  for (int key0 = begin; key0 < end; key0 += kKeys, stage ^= 1) {
    dev::copy_async_wait<0>();
    dev::sync_threads();
    if (key0 + kKeys < end) fetch(key0 + kKeys, stage ^ 1);
    uint32_t kept = 0;
    if constexpr (Dropping) {
      kept = kept_scores<kBlocks, false>(p.dropout, shape, batch, head, query0 + warp_row, key0);
    }
    float scores[kBlocks][4], d_scores[kBlocks][4];
    if constexpr (Biased) {
      begin_with_bias<kBlocks>(scores, shape, head, [&](int n, int i) {
        return key0 - query0 - warp_row - lane / 4 - 8 * (i / 2) + n * 8 + lane % 4 * 2 + i % 2;
      });
    } else {
      clear(scores);
    }
    clear(d_scores);
    multiply_transposed<1, kBlocks>(&scores, s.q, warp_row, s.k[stage]);
    multiply_transposed<1, kBlocks>(&d_scores, s.d_out, warp_row, s.v[stage]);
    TSUGI_UNROLL
    for (int n = 0; n < kBlocks; ++n) {
      TSUGI_UNROLL
      for (int i = 0; i < 4; ++i) {
        const QueryStatistics& row = rows[i / 2];
        const int key = key0 + n * 8 + lane % 4 * 2 + i % 2;
        const float factor = !Dropping                                     ? 1.0f
                             : (kept >> kept_bit<kBlocks>(n, i) & 1u) != 0 ? p.dropout.keep_scale
                                                                           : 0.0f;
        const bool visible = key >= row.keys.first && key < row.keys.end;
        d_scores[n][i] =
            derive(scores[n][i], visible, scale_log2, row.log2_sum, d_scores[n][i], row.delta, factor).d_score;
      }
    }
    if constexpr (Biased) {
      if (p.bias_sums != nullptr) add_diagonals<kBlocks>(s, d_scores, p.bias_sums_of(batch, head, query0) + key0);
    }
    multiply_accumulators<1, kBlocks, D>(&dq, &d_scores, s.k[stage]);
  }
  dev::copy_async_wait<0>();
  store_rows<D>(p.dq, batch, head, query0 + warp_row, shape.query_tokens, shape.head_dim, dq, shape.scale);
}

/// A thread per head and distance.
TSUGI_KERNEL(kAttentionThreads, 8)
sum_bias(AttentionBackward p, float* d_bias) {
  const int columns = p.shape.key_tokens + p.shape.query_tokens - 1;
  const int column = static_cast<int>(dev::block_index().x) * kAttentionThreads + dev::thread_index();
  const int head = static_cast<int>(dev::block_index().y);
  if (column >= columns) return;
  const int distance = column - (p.shape.query_tokens - 1);
  float sum = 0.0f;
  for (int batch = 0; batch < p.shape.batch; ++batch) {
    for (int query0 = 0; query0 < p.shape.query_tokens; query0 += kBiasQueries) {
      const int at = distance + query0 + kBiasQueries - 1;
      if (at < 0 || at >= p.bias_width) continue;
      sum += dev::load(p.bias_sums_of(batch, head, query0) + at);
    }
  }
  dev::store(d_bias + static_cast<int64_t>(head) * columns + column, sum);
}

/// Queries of a tile of differentiate_keys: with heads of 128 the two accumulators leave registers for 32.
constexpr int queries_per_visit(int head_dim) { return head_dim <= 64 ? 64 : 32; }

template <int D, bool Dropping, bool Biased>
void differentiate_with_mma(Stream& stream, const AttentionBackward& p) {
  constexpr int kVisited = queries_per_visit(D);
  const DeviceAttentionShape& shape = p.shape;
  const auto batch = static_cast<unsigned>(shape.batch);
  launch(stream, differentiate_keys<D, kVisited, Dropping, Biased>,
         {{tiles_of(shape.key_tokens, kKeys), static_cast<unsigned>(shape.key_heads), batch},
          kAttentionThreads,
          sizeof(KeyShared<D, kVisited>)},
         p);
  launch(stream, differentiate_queries<D, Dropping, Biased>,
         {{tiles_of(shape.query_tokens, kQueries), static_cast<unsigned>(shape.heads), batch},
          kAttentionThreads,
          sizeof(QueryShared<D, Biased>)},
         p);
}

template <int D>
void differentiate_with_mma(Stream& stream, const AttentionBackward& p) {
  const bool biased = p.shape.relative_bias != nullptr;
  if (p.dropout.active()) {
    biased ? differentiate_with_mma<D, true, true>(stream, p) : differentiate_with_mma<D, true, false>(stream, p);
  } else {
    biased ? differentiate_with_mma<D, false, true>(stream, p) : differentiate_with_mma<D, false, false>(stream, p);
  }
}

size_t ranges_bytes(const DeviceAttentionShape& shape) {
  return static_cast<size_t>(shape.batch) * tiles_of(shape.query_tokens, queries_per_visit(shape.head_dim)) *
         sizeof(TileRange);
}

/// Of a tile of queries: every tile of keys that it may visit, and the diagonals of the last one beyond it.
int bias_width(const DeviceAttentionShape& shape) {
  return static_cast<int>(tiles_of(shape.key_tokens, kKeys)) * kKeys + kQueries;
}

size_t bias_bytes(const DeviceAttentionShape& shape) {
  return static_cast<size_t>(shape.batch) * static_cast<size_t>(shape.heads) *
         tiles_of(shape.query_tokens, kBiasQueries) * static_cast<size_t>(bias_width(shape)) * sizeof(float);
}

size_t delta_bytes(const DeviceAttentionShape& shape) {
  const auto rows = static_cast<size_t>(shape.batch) * static_cast<size_t>(shape.heads);
  return rows * static_cast<size_t>(shape.query_tokens) * sizeof(float);
}

/// In scratch, of what one pass needs besides: aligned for 16 bytes.
size_t one_pass_offset(const DeviceAttentionShape& shape) {
  return (ranges_bytes(shape) + delta_bytes(shape) + 15) / 16 * 16;
}

}  // namespace

size_t attention_scratch_bytes(const DeviceAttentionShape& shape, bool d_bias, AttentionKernel kernel) {
  if (kernel == AttentionKernel::kPingPong) return one_pass_offset(shape) + one_pass_bytes(shape);
  return ranges_bytes(shape) + delta_bytes(shape) + (d_bias ? bias_bytes(shape) : 0);
}

void attention_backward(Stream& stream, const DeviceAttentionShape& shape, const DeviceHeads& q, const DeviceHeads& k,
                        const DeviceHeads& v, const DropoutKey& dropout, const bf16* out, const float* log_sum_exp,
                        const bf16* d_out, void* scratch, const DeviceHeads& dq, const DeviceHeads& dk,
                        const DeviceHeads& dv, AttentionKernel kernel, float* d_relative_bias) {
  check_attention(shape, kernel);
  check_attention(kernel, dropout);
  AttentionBackward p{};
  p.shape = shape;
  p.q = q;
  p.k = k;
  p.v = v;
  p.dq = dq;
  p.dk = dk;
  p.dv = dv;
  p.dropout = dropout;
  p.out = out;
  p.d_out = d_out;
  p.log_sum_exp = log_sum_exp;
  p.ranges = static_cast<TileRange*>(scratch);
  p.delta = reinterpret_cast<float*>(static_cast<std::byte*>(scratch) + ranges_bytes(shape));
  if (d_relative_bias != nullptr) {
    p.bias_sums = p.delta + delta_bytes(shape) / sizeof(float);
    p.bias_width = bias_width(shape);
    stream.fill(p.bias_sums, 0, bias_bytes(shape));
  }
  const bool wgmma = kernel != AttentionKernel::kMma;
  const int visited = wgmma ? kHopperVisited : queries_per_visit(shape.head_dim);
  p.query_tiles = static_cast<int>(tiles_of(shape.query_tokens, visited));
  const int lanes = shape.head_dim <= 64 ? 8 : 16;
  const int64_t rows = static_cast<int64_t>(shape.batch) * shape.query_tokens * shape.heads;
  const int64_t rows_in_block = kAttentionThreads / lanes;
  launch(stream, lanes == 8 ? sum_products<8> : sum_products<16>,
         {{static_cast<unsigned>((rows + rows_in_block - 1) / rows_in_block), 1, 1}, kAttentionThreads, 0}, p);
  launch(stream, find_ranges,
         {{static_cast<unsigned>(p.query_tiles), static_cast<unsigned>(shape.batch), 1},
          kAttentionThreads,
          sizeof(RangeScratch)},
         p, visited);
  if (kernel == AttentionKernel::kPingPong) {
    differentiate_in_one_pass(stream, p, static_cast<std::byte*>(scratch) + one_pass_offset(shape));
  } else if (wgmma) {
    differentiate_with_wgmma(stream, p);
  } else if (shape.head_dim <= 64) {
    differentiate_with_mma<64>(stream, p);
  } else {
    differentiate_with_mma<128>(stream, p);
  }
  if (d_relative_bias == nullptr) return;
  const int columns = shape.key_tokens + shape.query_tokens - 1;
  launch(stream, sum_bias,
         {{tiles_of(columns, kAttentionThreads), static_cast<unsigned>(shape.heads), 1}, kAttentionThreads, 0}, p,
         d_relative_bias);
}

}  // namespace tsugi::cuda
