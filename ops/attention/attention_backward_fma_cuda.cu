#include "ops/attention/attention_backward.cuh"
#include "ops/attention/attention_fma.cuh"

namespace tsugi::cuda {
namespace {

struct FmaBackward {
  DeviceAttentionShape shape;
  TypedHeads q, k, v, dq, dk, dv;
  DropoutKey dropout;
  const void* out;
  const void* d_out;
  const float* log_sum_exp;
  float* delta;       // [batch, heads, query_tokens]: Σ over the head of d_out·out
  TileRange* ranges;  // [batch, tiles of queries]
  int tile;           // queries, and keys, of a tile
  int query_tiles;
  float* bias_sums;  // [batch, heads, tiles of queries, bias_width]; null: not asked for
  int bias_width;

  TSUGI_DEVICE int64_t statistic(int batch, int head, int query) const {
    return (static_cast<int64_t>(batch) * shape.heads + head) * shape.query_tokens + query;
  }
  /// Column c is the distance of c - (tile - 1) between a key and the tile's first query.
  TSUGI_DEVICE float* bias_sums_of(int batch, int head, int query_tile) const {
    const int64_t row = (static_cast<int64_t>(batch) * shape.heads + head) * query_tiles + query_tile;
    return bias_sums + row * bias_width;
  }
  template <class T>
  TSUGI_DEVICE const T* d_out_of(int batch, int query, int head) const {
    const int64_t row = static_cast<int64_t>(batch) * shape.query_tokens + query;
    return static_cast<const T*>(d_out) + (row * shape.heads + head) * shape.head_dim;
  }
  TSUGI_DEVICE int64_t d_out_stride() const { return static_cast<int64_t>(shape.heads) * shape.head_dim; }
};

/// A warp per query and head.
template <class T>
TSUGI_KERNEL(kFmaThreads, 4)
sum_products_fma(FmaBackward p) {
  const int64_t rows = static_cast<int64_t>(p.shape.batch) * p.shape.query_tokens * p.shape.heads;
  const int64_t row = static_cast<int64_t>(dev::block_index().x) * (kFmaThreads / 32) + dev::warp_index();
  if (row >= rows) return;
  const int64_t first = row * p.shape.head_dim;
  float sum = 0.0f;
  for (int d = dev::lane_index(); d < p.shape.head_dim; d += 32) {
    sum = dev::fma(dev::to_float(dev::load(static_cast<const T*>(p.out) + first + d)),
                   dev::to_float(dev::load(static_cast<const T*>(p.d_out) + first + d)), sum);
  }
  sum = dev::warp_sum(sum);
  const int head = static_cast<int>(row % p.shape.heads);
  const int64_t at = row / p.shape.heads;
  const int batch = static_cast<int>(at / p.shape.query_tokens);
  if (dev::lane_index() == 0) {
    dev::store(p.delta + p.statistic(batch, head, static_cast<int>(at % p.shape.query_tokens)), sum);
  }
}

/// A block per tile of queries.
TSUGI_KERNEL(kFmaThreads, 4)
find_ranges_fma(FmaBackward p) {
  const int tile = static_cast<int>(dev::block_index().x);
  const int batch = static_cast<int>(dev::block_index().y);
  const TileRange range = fma_range(p.shape, batch, tile * p.tile, p.tile, dev::shared<FmaRangeScratch>());
  if (dev::thread_index() == 0) dev::store(p.ranges + batch * p.query_tiles + tile, range);
}

struct RowStatistics {
  float log2_sum;
  float delta;
  KeyRange keys;
};
TSUGI_DEVICE RowStatistics statistics_of(const FmaBackward& p, int batch, int head, int query) {
  // Beyond the last query: exp2(score - inf) = 0.
  if (query >= p.shape.query_tokens) return {__builtin_huge_valf(), 0.0f, {0x7FFFFFFF, 0}};
  const int64_t at = p.statistic(batch, head, query);
  return {dev::load(p.log_sum_exp + at) * dev::kLog2E, dev::load(p.delta + at), keys_of(p.shape, batch, query)};
}

TSUGI_DEVICE float factor_of(const DropoutKey& dropout, uint32_t kept, int bit) {
  return !dropout.active() ? 1.0f : (kept >> bit & 1u) != 0 ? dropout.keep_scale : 0.0f;
}

template <int N, int Width>
TSUGI_DEVICE void clear_rows(float (&sums)[N][Width]) {
  TSUGI_UNROLL
  for (int i = 0; i < N; ++i) {
    TSUGI_UNROLL
    for (float& element : sums[i]) element = 0.0f;
  }
}

template <class T, int N, int Width>
TSUGI_DEVICE void write_gradient(const TypedHeads& to, int batch, int token, int head, const float (&sums)[N][Width],
                                 float scale, int tokens, int head_dim) {
  float factors[N];
  TSUGI_UNROLL
  for (float& factor : factors) factor = scale;
  fma_write(sums, factors, row_of<T>(to, batch, token, head), to.token_stride, tokens - token, head_dim);
}

template <int D>
struct FmaKeyShared {
  static constexpr int kTile = fma_tile(D);
  FmaTile<kTile, D> k, v, q, d_out;
  FmaWeights<kTile, kTile> weights;
  dev::SharedArray<float, kTile> log2_sums, deltas;
  dev::SharedArray<int, kTile> first_keys, end_keys;
};

/// A block owns a tile of keys of a key head and visits the tiles of queries of every query head that reads it, in
/// order. Scores are formed transposed: rows are keys.
template <class T, int D>
TSUGI_KERNEL(kFmaThreads, 1)
differentiate_keys_fma(FmaBackward p) {
  constexpr int kTile = fma_tile(D);
  constexpr int N = kTile / 16;
  auto& s = dev::shared<FmaKeyShared<D>>();
  const DeviceAttentionShape& shape = p.shape;
  const int key0 = static_cast<int>(dev::block_index().x) * kTile;
  const int key_head = static_cast<int>(dev::block_index().y);
  const int batch = static_cast<int>(dev::block_index().z);
  const int group = shape.heads / shape.key_heads;
  const float scale_log2 = shape.scale * dev::kLog2E;

  const int keys_left = shape.key_tokens - key0;
  s.k.fetch(row_of<const T>(p.k, batch, key0, key_head), p.k.token_stride, keys_left, shape.head_dim);
  s.v.fetch(row_of<const T>(p.v, batch, key0, key_head), p.v.token_stride, keys_left, shape.head_dim);
  float dk[N][D / 16], dv[N][D / 16];
  clear_rows(dk);
  clear_rows(dv);
  for (int visit = 0; visit < group * p.query_tiles; ++visit) {
    const int tile = visit % p.query_tiles;
    if (!dev::load(p.ranges + batch * p.query_tiles + tile).overlaps(key0, key0 + kTile)) continue;
    const int head = key_head * group + visit / p.query_tiles;
    const int query0 = tile * kTile;
    const int left = shape.query_tokens - query0;
    dev::sync_threads();  // all have left the tile before
    s.q.fetch(row_of<const T>(p.q, batch, query0, head), p.q.token_stride, left, shape.head_dim);
    s.d_out.fetch(p.d_out_of<T>(batch, query0, head), p.d_out_stride(), left, shape.head_dim);
    if (dev::thread_index() < kTile) {
      const int i = dev::thread_index();
      const RowStatistics x = statistics_of(p, batch, head, query0 + i);
      s.log2_sums[i] = x.log2_sum;
      s.deltas[i] = x.delta;
      s.first_keys[i] = x.keys.first;
      s.end_keys[i] = x.keys.end;
    }
    dev::sync_threads();
    const uint32_t kept = fma_kept<N, N, true>(p.dropout, shape, batch, head, query0, key0);
    float scores[N][N], d_scores[N][N];
    fma_transposed(scores, s.k, s.q, shape.head_dim);
    fma_transposed(d_scores, s.v, s.d_out, shape.head_dim);
    const float* const bias = bias_of(shape, head);
    TSUGI_UNROLL
    for (int j = 0; j < N; ++j) {
      const int column = fma_x() + 16 * j;
      const float log2_sum = s.log2_sums[column];
      const float delta = s.deltas[column];
      const int first = s.first_keys[column];
      const int end = s.end_keys[column];
      TSUGI_UNROLL
      for (int i = 0; i < N; ++i) {
        const int key = key0 + fma_y() + 16 * i;
        const float score = fma_score(shape, bias, scores[i][j], scale_log2, query0 + column, key);
        const Element e = derive(score, key >= first && key < end, 1.0f, log2_sum, d_scores[i][j], delta,
                                 factor_of(p.dropout, kept, fma_kept_bit<true>(N * i + j)));
        scores[i][j] = e.dropped;
        d_scores[i][j] = e.d_score;
      }
    }
    fma_store(scores, s.weights);
    dev::sync_warp();
    fma_rows(dv, s.weights, s.d_out);
    dev::sync_warp();
    fma_store(d_scores, s.weights);
    dev::sync_warp();
    fma_rows(dk, s.weights, s.q);
  }
  write_gradient<T>(p.dk, batch, key0, key_head, dk, shape.scale, shape.key_tokens, shape.head_dim);
  write_gradient<T>(p.dv, batch, key0, key_head, dv, 1.0f, shape.key_tokens, shape.head_dim);
}

template <int D>
struct FmaQueryShared {
  static constexpr int kTile = fma_tile(D);
  FmaTile<kTile, D> q, d_out, k, v;
  FmaWeights<kTile, kTile> weights;
  FmaRangeScratch ranges;
};

/// Adds a tile's derivatives of scores to the sums of its queries by distance: thread t sums the diagonal of distance
/// t - (Tile - 1), from its top.
template <int Tile>
TSUGI_DEVICE void add_diagonals(FmaWeights<Tile, Tile>& d_scores, float* sums) {
  const int distance = dev::thread_index() - (Tile - 1);
  if (distance >= Tile) return;
  float sum = 0.0f;
  for (int row = distance < 0 ? -distance : 0; row < Tile && row + distance < Tile; ++row) {
    const float one = d_scores.data[row * FmaWeights<Tile, Tile>::kStride + row + distance];
    sum += one;
  }
  float* const to = sums + dev::thread_index();
  dev::store(to, dev::load(to) + sum);
}

/// A block owns a tile of queries of a head and visits the tiles of keys that they see.
template <class T, int D>
TSUGI_KERNEL(kFmaThreads, 1)
differentiate_queries_fma(FmaBackward p) {
  constexpr int kTile = fma_tile(D);
  constexpr int N = kTile / 16;
  auto& s = dev::shared<FmaQueryShared<D>>();
  const DeviceAttentionShape& shape = p.shape;
  const int query_tile = static_cast<int>(dev::grid_size().x - 1 - dev::block_index().x);
  const int query0 = query_tile * kTile;
  const int head = static_cast<int>(dev::block_index().y);
  const int batch = static_cast<int>(dev::block_index().z);
  const int key_head = head / (shape.heads / shape.key_heads);
  const float scale_log2 = shape.scale * dev::kLog2E;
  const float* const bias = bias_of(shape, head);

  const int left = shape.query_tokens - query0;
  s.q.fetch(row_of<const T>(p.q, batch, query0, head), p.q.token_stride, left, shape.head_dim);
  s.d_out.fetch(p.d_out_of<T>(batch, query0, head), p.d_out_stride(), left, shape.head_dim);
  const TileRange range = fma_range(shape, batch, query0, kTile, s.ranges);
  RowStatistics rows[N];
  TSUGI_UNROLL
  for (int i = 0; i < N; ++i) rows[i] = statistics_of(p, batch, head, query0 + fma_y() + 16 * i);

  float dq[N][D / 16];
  clear_rows(dq);
  const int begin = range.first < range.end ? range.first / kTile * kTile : 0;
  const int end = range.first < range.end ? range.end : 0;
  for (int key0 = begin; key0 < end; key0 += kTile) {
    dev::sync_threads();  // all have left the tile before
    const int keys_left = shape.key_tokens - key0;
    s.k.fetch(row_of<const T>(p.k, batch, key0, key_head), p.k.token_stride, keys_left, shape.head_dim);
    s.v.fetch(row_of<const T>(p.v, batch, key0, key_head), p.v.token_stride, keys_left, shape.head_dim);
    dev::sync_threads();
    const uint32_t kept = fma_kept<N, N, false>(p.dropout, shape, batch, head, query0, key0);
    float scores[N][N], d_scores[N][N];
    fma_transposed(scores, s.q, s.k, shape.head_dim);
    fma_transposed(d_scores, s.d_out, s.v, shape.head_dim);
    TSUGI_UNROLL
    for (int i = 0; i < N; ++i) {
      TSUGI_UNROLL
      for (int j = 0; j < N; ++j) {
        const int key = key0 + fma_x() + 16 * j;
        const float score = fma_score(shape, bias, scores[i][j], scale_log2, query0 + fma_y() + 16 * i, key);
        const bool visible = key >= rows[i].keys.first && key < rows[i].keys.end;
        d_scores[i][j] = derive(score, visible, 1.0f, rows[i].log2_sum, d_scores[i][j], rows[i].delta,
                                factor_of(p.dropout, kept, fma_kept_bit<false>(N * i + j)))
                             .d_score;
      }
    }
    fma_store(d_scores, s.weights);
    if (p.bias_sums != nullptr) {
      dev::sync_threads();
      add_diagonals<kTile>(s.weights, p.bias_sums_of(batch, head, query_tile) + key0);
    }
    dev::sync_warp();
    fma_rows(dq, s.weights, s.k);
  }
  write_gradient<T>(p.dq, batch, query0, head, dq, shape.scale, shape.query_tokens, shape.head_dim);
}

/// A thread per head and distance.
TSUGI_KERNEL(kFmaThreads, 4)
sum_bias_fma(FmaBackward p, float* d_bias) {
  const int columns = p.shape.key_tokens + p.shape.query_tokens - 1;
  const int column = static_cast<int>(dev::block_index().x) * kFmaThreads + dev::thread_index();
  const int head = static_cast<int>(dev::block_index().y);
  if (column >= columns) return;
  const int distance = column - (p.shape.query_tokens - 1);
  float sum = 0.0f;
  for (int batch = 0; batch < p.shape.batch; ++batch) {
    for (int tile = 0; tile < p.query_tiles; ++tile) {
      const int at = distance + tile * p.tile + p.tile - 1;
      if (at < 0 || at >= p.bias_width) continue;
      sum += dev::load(p.bias_sums_of(batch, head, tile) + at);
    }
  }
  dev::store(d_bias + static_cast<int64_t>(head) * columns + column, sum);
}

template <class T, int D>
void differentiate_fma(Stream& stream, const FmaBackward& p) {
  const DeviceAttentionShape& shape = p.shape;
  const auto batch = static_cast<unsigned>(shape.batch);
  launch(stream, differentiate_keys_fma<T, D>,
         {{tiles_of(shape.key_tokens, p.tile), static_cast<unsigned>(shape.key_heads), batch},
          kFmaThreads,
          sizeof(FmaKeyShared<D>)},
         p);
  launch(stream, differentiate_queries_fma<T, D>,
         {{static_cast<unsigned>(p.query_tiles), static_cast<unsigned>(shape.heads), batch},
          kFmaThreads,
          sizeof(FmaQueryShared<D>)},
         p);
}

template <class T>
void differentiate_fma(Stream& stream, const FmaBackward& p) {
  const int64_t rows = static_cast<int64_t>(p.shape.batch) * p.shape.query_tokens * p.shape.heads;
  constexpr int kWarps = kFmaThreads / 32;
  launch(stream, sum_products_fma<T>, {{static_cast<unsigned>((rows + kWarps - 1) / kWarps), 1, 1}, kFmaThreads, 0}, p);
  launch(stream, find_ranges_fma,
         {{static_cast<unsigned>(p.query_tiles), static_cast<unsigned>(p.shape.batch), 1},
          kFmaThreads,
          sizeof(FmaRangeScratch)},
         p);
  if (p.shape.head_dim <= 64) {
    differentiate_fma<T, 64>(stream, p);
  } else if (p.shape.head_dim <= 128) {
    differentiate_fma<T, 128>(stream, p);
  } else {
    differentiate_fma<T, 256>(stream, p);
  }
}

/// Of the scratch, in this order; bytes.
struct ScratchParts {
  explicit ScratchParts(const DeviceAttentionShape& shape) {
    const int tile = fma_tile(shape.head_dim);
    const size_t tiles = tiles_of(shape.query_tokens, tile);
    const auto heads = static_cast<size_t>(shape.batch) * static_cast<size_t>(shape.heads);
    ranges = static_cast<size_t>(shape.batch) * tiles * sizeof(TileRange);
    delta = heads * static_cast<size_t>(shape.query_tokens) * sizeof(float);
    // Of a tile of queries: every tile of keys that it may visit, and the diagonals of the last one beyond it.
    bias_width = static_cast<int>(tiles_of(shape.key_tokens, tile)) * tile + tile;
    bias = heads * tiles * static_cast<size_t>(bias_width) * sizeof(float);
  }
  size_t ranges, delta, bias;
  int bias_width;
};

}  // namespace

size_t attention_fma_scratch_bytes(const DeviceAttentionShape& shape, bool d_bias) {
  const ScratchParts parts(shape);
  return parts.ranges + parts.delta + (d_bias ? parts.bias : 0);
}

void attention_backward_fma(Stream& stream, DType type, const DeviceAttentionShape& shape, const TypedHeads& q,
                            const TypedHeads& k, const TypedHeads& v, const DropoutKey& dropout, const void* out,
                            const float* log_sum_exp, const void* d_out, void* scratch, const TypedHeads& dq,
                            const TypedHeads& dk, const TypedHeads& dv, float* d_relative_bias) {
  check_attention_fma(shape);
  const ScratchParts parts(shape);
  auto* const bytes = static_cast<std::byte*>(scratch);
  FmaBackward p{.shape = shape,
                .q = q,
                .k = k,
                .v = v,
                .dq = dq,
                .dk = dk,
                .dv = dv,
                .dropout = dropout,
                .out = out,
                .d_out = d_out,
                .log_sum_exp = log_sum_exp,
                .delta = reinterpret_cast<float*>(bytes + parts.ranges),
                .ranges = static_cast<TileRange*>(scratch),
                .tile = fma_tile(shape.head_dim),
                .query_tiles = static_cast<int>(tiles_of(shape.query_tokens, fma_tile(shape.head_dim))),
                .bias_sums = nullptr,
                .bias_width = parts.bias_width};
  if (d_relative_bias != nullptr) {
    p.bias_sums = reinterpret_cast<float*>(bytes + parts.ranges + parts.delta);
    stream.fill(p.bias_sums, 0, parts.bias);
  }
  type == DType::kF32 ? differentiate_fma<float>(stream, p) : differentiate_fma<bf16>(stream, p);
  if (d_relative_bias == nullptr) return;
  const int columns = shape.key_tokens + shape.query_tokens - 1;
  launch(stream, sum_bias_fma,
         {{tiles_of(columns, kFmaThreads), static_cast<unsigned>(shape.heads), 1}, kFmaThreads, 0}, p, d_relative_bias);
}

}  // namespace tsugi::cuda
