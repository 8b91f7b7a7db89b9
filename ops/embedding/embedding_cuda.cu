#include <bit>

#include "ops/cuda/dropout.cuh"
#include "ops/embedding/embedding_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kPiece = 32;  // sorted positions that one block sums

constexpr int kSortThreads = 1024;
constexpr int kSortWarps = kSortThreads / 32;
constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;
constexpr int kSortAhead = 8;  // positions that a lane loads before it places the first
constexpr int kRowsAhead = 4;  // rows that are loaded before the first is added

template <class T, int V>
TSUGI_KERNEL(kThreads, 8)
embed(const int32_t* tokens, const T* token_table, const T* position_table, DropoutKey dropout, int64_t length,
      int64_t width, T* out) {
  const int64_t at = dev::block_index().x;
  const int64_t token = dev::load(tokens + at);
  const int64_t position = at % length;
  for (int64_t c = dev::thread_index() * V; c < width; c += kThreads * V) {
    const dev::Vector<T, V> a = dev::load_vector<V>(token_table + token * width + c);
    dev::Vector<T, V> b = {};
    if (position_table != nullptr) b = dev::load_vector<V>(position_table + position * width + c);
    float factors[V];
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) factors[i] = 1.0f;
    if (dropout.active()) dev::dropout_factors<V>(dropout, at / length, position * width + c, factors);
    dev::Vector<T, V> sum;
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) sum[i] = dev::round_to<T>(factors[i] * (dev::to_float(a[i]) + dev::to_float(b[i])));
    dev::store_vector(out + at * width + c, sum);
  }
}

struct SortShared {
  dev::SharedArray<int, kDigits * kSortWarps> counts;  // [digit][warp]
  dev::BlockScratch<int> scratch;
};

/// The exclusive prefix sum over the block.
TSUGI_DEVICE int prefix_sum(int x, dev::BlockScratch<int>& scratch) {
  int inclusive = x;
  for (int distance = 1; distance < 32; distance *= 2) {
    const int below = dev::shuffle(inclusive, dev::lane_index() - distance);
    if (dev::lane_index() >= distance) inclusive += below;
  }
  dev::sync_threads();
  if (dev::lane_index() == 31) scratch[dev::warp_index()] = inclusive;
  dev::sync_threads();
  int before = 0;
  for (int w = 0; w < dev::warp_index(); ++w) before += scratch[w];
  return before + inclusive - x;
}

/// A warp's stretch of the positions in one pass of the sort; `f(digit, key, order)` is called by all lanes for 32
/// positions at a time, in order. The digit of lanes behind the end is kDigits. `order` null: position i is i.
template <class F>
TSUGI_DEVICE void for_stretch(const int32_t* keys, const int32_t* order, int64_t count, int shift, F&& f) {
  const int64_t each = (count + kSortThreads - 1) / kSortThreads * 32;
  const int64_t begin = dev::warp_index() * each;
  const int64_t end = begin + each < count ? begin + each : count;
  for (int64_t first = begin; first < end; first += 32 * kSortAhead) {
    int32_t key[kSortAhead], from[kSortAhead];
    TSUGI_UNROLL
    for (int j = 0; j < kSortAhead; ++j) {
      const int64_t i = first + j * 32 + dev::lane_index();
      key[j] = i < end ? dev::load(keys + i) : 0;
      from[j] = order == nullptr ? static_cast<int32_t>(i) : i < end ? dev::load(order + i) : 0;
    }
    TSUGI_UNROLL
    for (int j = 0; j < kSortAhead; ++j) {
      if (first + j * 32 >= end) continue;  // the whole warp
      const bool inside = first + j * 32 + dev::lane_index() < end;
      f(inside ? key[j] >> shift & (kDigits - 1) : kDigits, key[j], from[j]);
    }
  }
}

/// Stable radix sort of the positions by token, in one block: every warp counts and places a contiguous stretch, 32
/// positions at a time. The result is in (keys[passes % 2], order[passes % 2]); passes > 0.
TSUGI_KERNEL(kSortThreads, 1)
sort_positions(const int32_t* tokens, int64_t count, int passes, int32_t* keys0, int32_t* order0, int32_t* keys1,
               int32_t* order1) {
  auto& s = dev::shared<SortShared>();
  const int thread = dev::thread_index();
  const uint32_t below = (1u << dev::lane_index()) - 1;
  constexpr int kEach = kDigits * kSortWarps / kSortThreads;  // counts that a thread scans
  for (int pass = 0; pass < passes; ++pass) {
    const int32_t* keys = pass == 0 ? tokens : pass % 2 == 0 ? keys0 : keys1;
    const int32_t* order = pass == 0 ? nullptr : pass % 2 == 0 ? order0 : order1;
    int32_t* to_keys = pass % 2 == 0 ? keys1 : keys0;
    int32_t* to_order = pass % 2 == 0 ? order1 : order0;
    const int shift = pass * kDigitBits;
    for (int j = 0; j < kEach; ++j) s.counts[j * kSortThreads + thread] = 0;
    dev::sync_threads();
    // Of the lanes with one digit the first counts for all.
    for_stretch(keys, nullptr, count, shift, [&](int digit, int32_t, int32_t) {
      const uint32_t same = dev::match_any(static_cast<uint32_t>(digit));
      if (digit < kDigits && (same & below) == 0)
        s.counts[digit * kSortWarps + dev::warp_index()] += dev::popcount(same);
      dev::sync_warp();
    });
    dev::sync_threads();
    int sum = 0;
    for (int j = 0; j < kEach; ++j) sum += s.counts[thread * kEach + j];
    int before = prefix_sum(sum, s.scratch);
    for (int j = 0; j < kEach; ++j) {
      const int here = s.counts[thread * kEach + j];
      s.counts[thread * kEach + j] = before;
      before += here;
    }
    dev::sync_threads();
    for_stretch(keys, order, count, shift, [&](int digit, int32_t key, int32_t from) {
      const uint32_t same = dev::match_any(static_cast<uint32_t>(digit));
      const int slot = digit * kSortWarps + dev::warp_index();
      const int rank = dev::popcount(same & below);
      int to = 0;
      if (digit < kDigits) {
        to = s.counts[slot];
        dev::store(to_keys + to + rank, key);
        dev::store(to_order + to + rank, from);
      }
      dev::sync_warp();
      if (digit < kDigits && rank == 0) s.counts[slot] = to + dev::popcount(same);
      dev::sync_warp();
    });
    dev::sync_threads();
  }
}

template <class T>
struct Gradient {
  const T* d_out;
  DropoutKey dropout;
  int64_t length, width;

  template <int V>
  TSUGI_DEVICE dev::Packed<T, V> load(int64_t at, int64_t column) const {
    return dev::load_packed<V>(d_out + at * width + column);
  }
  template <int V>
  TSUGI_DEVICE void add(const dev::Packed<T, V>& loaded, int64_t at, int64_t column, float (&sum)[V]) const {
    const dev::Vector<T, V> d = loaded.unpacked();
    float factors[V];
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) factors[i] = 1.0f;
    if (dropout.active()) dev::dropout_factors<V>(dropout, at / length, at % length * width + column, factors);
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) sum[i] += factors[i] * dev::to_float(d[i]);
  }
};

/// row[0, V) = sum, or with Add += sum.
template <bool Add, int V>
TSUGI_DEVICE void put(float* row, const float (&sum)[V]) {
  constexpr int kN = V % 4 == 0 ? 4 : 1;
  TSUGI_UNROLL
  for (int i = 0; i < V; i += kN) {
    dev::Vector<float, kN> value = {};
    if constexpr (Add) value = dev::load_vector<kN>(row + i);
    TSUGI_UNROLL
    for (int j = 0; j < kN; ++j) value[j] += sum[i + j];
    dev::store_vector(row + i, value);
  }
}

/// Sums the runs of equal tokens in sorted positions [piece·32, +32). A run that lies inside is added to the table;
/// what belongs to a longer one goes to partial[piece, 0] (it began earlier) or [piece, 1] (it begins here). Lane l of
/// every warp has position piece·32 + l.
template <class T, int V>
TSUGI_KERNEL(kThreads, 8)
sum_runs(Gradient<T> gradient, const int32_t* keys, const int32_t* order, int64_t count, float* partial,
         float* d_table) {
  static_assert(kPiece == 32);
  const int64_t piece = dev::block_index().x;
  const int64_t begin = piece * kPiece;
  const int here = static_cast<int>(begin + kPiece < count ? kPiece : count - begin);
  const int64_t own = (static_cast<int64_t>(dev::block_index().y) * kThreads + dev::thread_index()) * V;
  const bool inside = own < gradient.width;
  const int64_t column = inside ? own : 0;
  const bool has = dev::lane_index() < here;
  const int32_t lane_key = has ? dev::load(keys + begin + dev::lane_index()) : -1;
  const int32_t lane_at = has ? dev::load(order + begin + dev::lane_index()) : 0;
  const int32_t earlier = begin > 0 ? dev::load(keys + begin - 1) : -1;
  const int32_t later = begin + here < count ? dev::load(keys + begin + here) : -1;
  float sum[V] = {};
  for (int first = 0; first < here; first += kRowsAhead) {
    dev::Packed<T, V> rows[kRowsAhead];
    int32_t at[kRowsAhead];
    TSUGI_UNROLL
    for (int j = 0; j < kRowsAhead; ++j) {  // behind the end: row 0
      at[j] = dev::shuffle(lane_at, first + j);
      rows[j] = gradient.template load<V>(at[j], column);
    }
    TSUGI_UNROLL
    for (int j = 0; j < kRowsAhead; ++j) {
      const int i = first + j;
      if (i >= here) continue;  // the whole block
      gradient.template add<V>(rows[j], at[j], column, sum);
      const int32_t token = dev::shuffle(lane_key, i);
      const int32_t following = dev::shuffle(lane_key, i + 1);
      if (i + 1 < here && following == token) continue;  // the whole block
      const bool began_earlier = earlier == token;
      const bool goes_on = i + 1 == here && later == token;
      if (inside && (began_earlier || goes_on)) {
        put<false, V>(partial + (piece * 2 + (began_earlier ? 0 : 1)) * gradient.width + column, sum);
      } else if (inside) {
        put<true, V>(d_table + token * gradient.width + column, sum);
      }
      TSUGI_UNROLL
      for (int k = 0; k < V; ++k) sum[k] = 0.0f;
    }
  }
}

/// Adds up the runs that begin in a piece and go on in the next ones.
TSUGI_KERNEL(kThreads, 8)
join_runs(const int32_t* keys, int64_t count, int64_t width, const float* partial, float* d_table) {
  const int64_t piece = dev::block_index().x;
  const int64_t end = (piece + 1) * kPiece;
  if (end >= count) return;
  const int32_t token = dev::load(keys + end - 1);
  if (dev::load(keys + end) != token) return;
  if (piece > 0 && dev::load(keys + piece * kPiece - 1) == token) return;  // it began earlier
  const int64_t column = static_cast<int64_t>(dev::block_index().y) * kThreads + dev::thread_index();
  if (column >= width) return;
  float sum = dev::load(partial + (piece * 2 + 1) * width + column);
  bool goes_on = true;
  for (int64_t next = piece + 1; goes_on; next += kRowsAhead) {
    int32_t tokens[kRowsAhead];
    float parts[kRowsAhead];
    TSUGI_UNROLL
    for (int j = 0; j < kRowsAhead; ++j) {  // a part of another run may hold anything
      const bool there = (next + j) * kPiece < count;
      tokens[j] = there ? dev::load(keys + (next + j) * kPiece) : -1;
      parts[j] = there ? dev::load(partial + (next + j) * 2 * width + column) : 0.0f;
    }
    TSUGI_UNROLL
    for (int j = 0; j < kRowsAhead; ++j) {
      goes_on = goes_on && tokens[j] == token;
      if (goes_on) sum += parts[j];
    }
  }
  float* row = d_table + token * width + column;
  dev::store(row, dev::load(row) + sum);
}

template <class T, int V>
TSUGI_KERNEL(kThreads, 8)
sum_batch(Gradient<T> gradient, int64_t batch, float* d_table) {
  const int64_t position = dev::block_index().x;
  const int64_t column = (static_cast<int64_t>(dev::block_index().y) * kThreads + dev::thread_index()) * V;
  if (column >= gradient.width) return;
  float sum[V] = {};
  for (int64_t first = 0; first < batch; first += kRowsAhead) {
    dev::Packed<T, V> rows[kRowsAhead];
    TSUGI_UNROLL
    for (int j = 0; j < kRowsAhead; ++j) {
      const int64_t b = first + j < batch ? first + j : first;
      rows[j] = gradient.template load<V>(b * gradient.length + position, column);
    }
    TSUGI_UNROLL
    for (int j = 0; j < kRowsAhead; ++j) {
      const int64_t at = (first + j) * gradient.length + position;
      if (first + j < batch) gradient.template add<V>(rows[j], at, column, sum);
    }
  }
  put<true, V>(d_table + position * gradient.width + column, sum);
}

unsigned blocks_of(int64_t count, int64_t size) { return static_cast<unsigned>((count + size - 1) / size); }

}  // namespace

void embedding_forward(Stream& stream, const EmbeddingShape& shape, const int32_t* tokens, const void* token_table,
                       const void* position_table, const DropoutKey& dropout, void* out) {
  dispatch_compute_type(shape.type, [&]<class T>(T) {
    constexpr int kV = dev::kVectorElements<T>;
    launch(stream, shape.width % kV == 0 ? embed<T, kV> : embed<T, 1>,
           {{static_cast<unsigned>(shape.count()), 1, 1}, kThreads, 0}, tokens, static_cast<const T*>(token_table),
           static_cast<const T*>(position_table), dropout, shape.tokens, shape.width, static_cast<T*>(out));
  });
}

size_t embedding_scratch_bytes(const EmbeddingShape& shape) {
  const auto count = static_cast<size_t>(shape.count());
  const size_t pieces = blocks_of(shape.count(), kPiece);
  return pieces * 2 * static_cast<size_t>(shape.width) * sizeof(float) + 4 * count * sizeof(int32_t);
}

void embedding_backward(Stream& stream, const EmbeddingShape& shape, const int32_t* tokens, const DropoutKey& dropout,
                        const void* d_out, void* scratch, float* d_token_table, float* d_position_table) {
  const int64_t count = shape.count();
  const unsigned pieces = blocks_of(count, kPiece);
  auto* partial = static_cast<float*>(scratch);
  auto* keys0 = reinterpret_cast<int32_t*>(partial + int64_t{pieces} * 2 * shape.width);
  int32_t* order0 = keys0 + count;
  int32_t* keys1 = order0 + count;
  int32_t* order1 = keys1 + count;
  const auto bits = static_cast<int>(std::bit_width(static_cast<uint64_t>(shape.vocabulary - 1)));
  const int passes = bits == 0 ? 1 : (bits + kDigitBits - 1) / kDigitBits;
  launch(stream, sort_positions, {{1, 1, 1}, kSortThreads, sizeof(SortShared)}, tokens, count, passes, keys0, order0,
         keys1, order1);
  const int32_t* keys = passes % 2 == 0 ? keys0 : keys1;
  const int32_t* order = passes % 2 == 0 ? order0 : order1;
  dispatch_compute_type(shape.type, [&]<class T>(T) {
    constexpr int kV = dev::kVectorElements<T>;
    const bool whole = shape.width % kV == 0;
    const unsigned strips = blocks_of(shape.width, kThreads * (whole ? kV : 1));
    const Gradient<T> gradient{static_cast<const T*>(d_out), dropout, shape.tokens, shape.width};
    launch(stream, whole ? sum_runs<T, kV> : sum_runs<T, 1>, {{pieces, strips, 1}, kThreads, 0}, gradient, keys, order,
           count, partial, d_token_table);
    if (d_position_table == nullptr) return;
    launch(stream, whole ? sum_batch<T, kV> : sum_batch<T, 1>,
           {{static_cast<unsigned>(shape.tokens), strips, 1}, kThreads, 0}, gradient, shape.batch, d_position_table);
  });
  launch(stream, join_runs, {{pieces, blocks_of(shape.width, kThreads), 1}, kThreads, 0}, keys, count, shape.width,
         partial, d_token_table);
}

}  // namespace tsugi::cuda
