// Attention of a few new tokens to many keys, which lie in a cache: every key and value is read once, by as many blocks
// as there are chunks of keys.
#include <algorithm>

#include "ops/attention/attention_fma.cuh"

namespace tsugi::cuda {
namespace {

constexpr int kDecodeThreads = 128;
constexpr int kDecodeRows = 8;  // queries of a block; further ones of a key head have blocks of their own
constexpr int kKeyLanes = 8;    // that share a key
constexpr int kKeysAtOnce = 4;  // of such lanes, in registers
constexpr int kValuesAtOnce = 4;

struct Decode {
  DeviceAttentionShape shape;
  TypedHeads q, k, v;
  void* out;
  float* parts;  // [batch, heads, query_tokens, chunks, head_dim + 2]: sums of values, the largest score, their weight
  int chunks;
  int row_blocks;  // of a key head

  /// Rows of a key head: its query heads, and of each its queries.
  TSUGI_DEVICE int rows() const { return shape.heads / shape.key_heads * shape.query_tokens; }
  TSUGI_DEVICE int head_of(int key_head, int row) const {
    return key_head * (shape.heads / shape.key_heads) + row / shape.query_tokens;
  }
  TSUGI_DEVICE float* part_of(int batch, int head, int query, int chunk) const {
    const int64_t row = (static_cast<int64_t>(batch) * shape.heads + head) * shape.query_tokens + query;
    return parts + (row * chunks + chunk) * (shape.head_dim + 2);
  }
};

template <int Rows>
struct DecodeShared {
  dev::SharedArray<float, Rows * kMostFmaHeadDim> q;
  dev::SharedArray<float, Rows * kDecodeKeys> weights;  // first scores
  dev::SharedArray<float, kDecodeThreads * 8> sums;     // of one row's values, by threads
  dev::SharedArray<float, 2 * Rows> largest_and_total;
};

/// A block owns a chunk of keys of a key head and up to `Rows` rows of queries that read it. V: elements in a load.
template <class T, int V, int Rows>
TSUGI_KERNEL(kDecodeThreads, 4)
attend_to_chunk(Decode p) {
  auto& s = dev::shared<DecodeShared<Rows>>();
  const DeviceAttentionShape& shape = p.shape;
  constexpr float kInfinity = __builtin_huge_valf();
  const int chunk = static_cast<int>(dev::block_index().x);
  const int key_head = static_cast<int>(dev::block_index().y) / p.row_blocks;
  const int row0 = static_cast<int>(dev::block_index().y) % p.row_blocks * Rows;
  const int batch = static_cast<int>(dev::block_index().z);
  const int rows = p.rows() - row0 < Rows ? p.rows() - row0 : Rows;
  const int thread = dev::thread_index();
  const int head_dim = shape.head_dim;
  const int chunk0 = chunk * kDecodeKeys;
  const int chunk_end = chunk0 + kDecodeKeys < shape.key_tokens ? chunk0 + kDecodeKeys : shape.key_tokens;

  for (int i = thread; i < Rows * head_dim; i += kDecodeThreads) {
    const int row = i / head_dim;
    const int d = i % head_dim;
    float value = 0.0f;
    if (row < rows) {
      const int query = (row0 + row) % shape.query_tokens;
      value = dev::to_float(dev::load(row_of<const T>(p.q, batch, query, p.head_of(key_head, row0 + row)) + d));
    }
    s.q[row * kMostFmaHeadDim + d] = value;
  }
  dev::sync_threads();

  // Scores: a key is shared by kKeyLanes lanes, which own pieces of V elements.
  const int piece = thread % kKeyLanes * V;
  for (int first = chunk0 + thread / kKeyLanes; first - thread / kKeyLanes < chunk_end;
       first += kDecodeThreads / kKeyLanes * kKeysAtOnce) {
    float sums[kKeysAtOnce][Rows];
    TSUGI_UNROLL
    for (int j = 0; j < kKeysAtOnce; ++j) {
      TSUGI_UNROLL
      for (int r = 0; r < Rows; ++r) sums[j][r] = 0.0f;
    }
    for (int d = piece; d < head_dim; d += kKeyLanes * V) {
      dev::Vector<T, V> keys[kKeysAtOnce];
      TSUGI_UNROLL
      for (int j = 0; j < kKeysAtOnce; ++j) {
        const int key = first + j * (kDecodeThreads / kKeyLanes);
        const T* const from = row_of<const T>(p.k, batch, key < chunk_end ? key : chunk0, key_head) + d;
        keys[j] = dev::load_vector<V>(from);
      }
      TSUGI_UNROLL
      for (int r = 0; r < Rows; ++r) {
        TSUGI_UNROLL
        for (int i = 0; i < V; ++i) {
          const float q = s.q[r * kMostFmaHeadDim + d + i];
          TSUGI_UNROLL
          for (int j = 0; j < kKeysAtOnce; ++j) sums[j][r] = dev::fma(q, dev::to_float(keys[j][i]), sums[j][r]);
        }
      }
    }
    TSUGI_UNROLL
    for (int j = 0; j < kKeysAtOnce; ++j) {
      const int key = first + j * (kDecodeThreads / kKeyLanes);
      TSUGI_UNROLL
      for (int r = 0; r < Rows; ++r) {
        float sum = sums[j][r];
        TSUGI_UNROLL
        for (int mask = kKeyLanes / 2; mask > 0; mask /= 2) sum += dev::shuffle_xor(sum, mask);
        if (thread % kKeyLanes == 0) s.weights[r * kDecodeKeys + (key - chunk0)] = sum;
      }
    }
  }
  dev::sync_threads();

  // A warp per row: scores become weights, relative to the largest.
  for (int r = dev::warp_index(); r < Rows; r += kDecodeThreads / 32) {
    const int query = (row0 + r) % shape.query_tokens;
    const float* const bias = bias_of(shape, r < rows ? p.head_of(key_head, row0 + r) : 0);
    const KeyRange seen = r < rows ? keys_of(shape, batch, query) : KeyRange{0x7FFFFFFF, 0};
    float scores[kDecodeKeys / 32];
    float most = -kInfinity;
    TSUGI_UNROLL
    for (int j = 0; j < kDecodeKeys / 32; ++j) {
      const int place = dev::lane_index() + 32 * j;
      const int key = chunk0 + place;
      scores[j] = -kInfinity;
      if (key < chunk_end && key >= seen.first && key < seen.end) {
        const float product = s.weights[r * kDecodeKeys + place];
        scores[j] = fma_score(shape, bias, product, shape.scale * dev::kLog2E, query, key);
      }
      most = dev::maximum(most, scores[j]);
    }
    most = dev::warp_max(most);
    const float shift = most == -kInfinity ? 0.0f : most;
    float total = 0.0f;
    TSUGI_UNROLL
    for (int j = 0; j < kDecodeKeys / 32; ++j) {
      const float weight = dev::exp2(scores[j] - shift);
      total += weight;
      s.weights[r * kDecodeKeys + dev::lane_index() + 32 * j] = weight;
    }
    total = dev::warp_sum(total);
    if (dev::lane_index() == 0) {
      s.largest_and_total[2 * r] = most;
      s.largest_and_total[2 * r + 1] = total;
    }
  }
  dev::sync_threads();

  // Values: thread t owns V columns and every `sharers`-th key; the sums of the sharers are added in order.
  const int pieces = (head_dim + V - 1) / V;
  const int sharers = pieces < kDecodeThreads ? kDecodeThreads / pieces : 1;
  for (int column0 = 0; column0 < pieces; column0 += kDecodeThreads) {
    const int sharer = pieces < kDecodeThreads ? thread / pieces : 0;
    const int column = pieces < kDecodeThreads ? thread % pieces : column0 + thread;
    const bool works = sharer < sharers && column < pieces;
    float sums[Rows][V];
    TSUGI_UNROLL
    for (int r = 0; r < Rows; ++r) {
      TSUGI_UNROLL
      for (int i = 0; i < V; ++i) sums[r][i] = 0.0f;
    }
    for (int key0 = chunk0 + sharer; works && key0 < chunk_end; key0 += sharers * kValuesAtOnce) {
      dev::Vector<T, V> values[kValuesAtOnce];
      TSUGI_UNROLL
      for (int j = 0; j < kValuesAtOnce; ++j) {
        const int key = key0 + j * sharers;
        values[j] =
            dev::load_vector<V>(row_of<const T>(p.v, batch, key < chunk_end ? key : chunk0, key_head) + column * V);
      }
      TSUGI_UNROLL
      for (int j = 0; j < kValuesAtOnce; ++j) {
        const int place = key0 + j * sharers - chunk0;
        TSUGI_UNROLL
        for (int r = 0; r < Rows; ++r) {
          float weight = 0.0f;
          if (chunk0 + place < chunk_end) weight = s.weights[r * kDecodeKeys + place];
          TSUGI_UNROLL
          for (int i = 0; i < V; ++i) sums[r][i] = dev::fma(weight, dev::to_float(values[j][i]), sums[r][i]);
        }
      }
    }
    TSUGI_UNROLL
    for (int r = 0; r < Rows; ++r) {
      TSUGI_UNROLL
      for (int i = 0; i < V; ++i) s.sums[thread * V + i] = sums[r][i];
      dev::sync_threads();
      if (r < rows && sharer == 0 && works) {
        const int head = p.head_of(key_head, row0 + r);
        float* const to = p.part_of(batch, head, (row0 + r) % shape.query_tokens, chunk);
        TSUGI_UNROLL
        for (int i = 0; i < V; ++i) {
          float sum = 0.0f;
          for (int other = 0; other < sharers; ++other) {
            const float one = s.sums[(other * pieces + (sharers > 1 ? column : thread)) * V + i];
            sum += one;
          }
          dev::store(to + column * V + i, sum);
        }
        if (column == 0) {
          const float most = s.largest_and_total[2 * r];
          const float total = s.largest_and_total[2 * r + 1];
          dev::store(to + head_dim, most);
          dev::store(to + head_dim + 1, total);
        }
      }
      dev::sync_threads();
    }
  }
}

/// A block per row: what its chunks found, added in their order.
template <class T>
TSUGI_KERNEL(kDecodeThreads, 8)
combine_chunks(Decode p) {
  const DeviceAttentionShape& shape = p.shape;
  const int query = static_cast<int>(dev::block_index().x) % shape.query_tokens;
  const int head = static_cast<int>(dev::block_index().x) / shape.query_tokens;
  const int batch = static_cast<int>(dev::block_index().y);
  const float* const parts = p.part_of(batch, head, query, 0);
  const int stride = shape.head_dim + 2;
  float largest = -__builtin_huge_valf();
  for (int c = 0; c < p.chunks; ++c) largest = dev::maximum(largest, dev::load(parts + c * stride + shape.head_dim));
  const float shift = largest == -__builtin_huge_valf() ? 0.0f : largest;
  for (int d = dev::thread_index(); d < shape.head_dim; d += kDecodeThreads) {
    float total = 0.0f;
    float sum = 0.0f;
    for (int c = 0; c < p.chunks; ++c) {
      const float* const part = parts + c * stride;
      const float weight = dev::exp2(dev::load(part + shape.head_dim) - shift);
      total = dev::fma(weight, dev::load(part + shape.head_dim + 1), total);
      sum = dev::fma(weight, dev::load(part + d), sum);
    }
    const int64_t row = static_cast<int64_t>(batch) * shape.query_tokens + query;
    dev::store(static_cast<T*>(p.out) + (row * shape.heads + head) * shape.head_dim + d,
               dev::round_to<T>(total > 0.0f ? sum / total : 0.0f));
  }
}

template <class T, int V, int Rows>
void launch_decode(Stream& stream, Decode p) {
  const DeviceAttentionShape& shape = p.shape;
  const int rows = shape.heads / shape.key_heads * shape.query_tokens;
  p.row_blocks = (rows + Rows - 1) / Rows;
  launch(stream, attend_to_chunk<T, V, Rows>,
         {{static_cast<unsigned>(p.chunks), static_cast<unsigned>(shape.key_heads * p.row_blocks),
           static_cast<unsigned>(shape.batch)},
          kDecodeThreads,
          sizeof(DecodeShared<Rows>)},
         p);
  launch(stream, combine_chunks<T>,
         {{static_cast<unsigned>(shape.heads * shape.query_tokens), static_cast<unsigned>(shape.batch), 1},
          kDecodeThreads,
          0},
         p);
}

template <class T, int V>
void launch_decode(Stream& stream, const Decode& p) {
  if (p.shape.heads / p.shape.key_heads * p.shape.query_tokens == 1) {
    launch_decode<T, V, 1>(stream, p);
  } else {
    launch_decode<T, V, kDecodeRows>(stream, p);
  }
}

template <class T>
void launch_decode(Stream& stream, const Decode& p) {
  constexpr int kWhole = dev::kVectorElements<T>;
  const auto fits = [](const TypedHeads& x) {
    return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.batch_stride % kWhole == 0 &&
           x.token_stride % kWhole == 0 && x.head_stride % kWhole == 0;
  };
  if (p.shape.head_dim % kWhole == 0 && fits(p.k) && fits(p.v)) {
    launch_decode<T, kWhole>(stream, p);
  } else {
    launch_decode<T, 1>(stream, p);
  }
}

int chunks_of(const DeviceAttentionShape& shape) { return static_cast<int>(tiles_of(shape.key_tokens, kDecodeKeys)); }

}  // namespace

size_t attention_decode_scratch_bytes(const DeviceAttentionShape& shape) {
  const auto rows =
      static_cast<size_t>(shape.batch) * static_cast<size_t>(shape.heads) * static_cast<size_t>(shape.query_tokens);
  return rows * static_cast<size_t>(chunks_of(shape)) * static_cast<size_t>(shape.head_dim + 2) * sizeof(float);
}

void attention_decode(Stream& stream, DType type, const DeviceAttentionShape& shape, const TypedHeads& q,
                      const TypedHeads& k, const TypedHeads& v, void* scratch, void* out) {
  check_attention_fma(shape);
  const Decode p{shape, q, k, v, out, static_cast<float*>(scratch), chunks_of(shape), 1};
  type == DType::kF32 ? launch_decode<float>(stream, p) : launch_decode<bf16>(stream, p);
}

}  // namespace tsugi::cuda
