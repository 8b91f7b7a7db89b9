#include <bit>

#include "ops/cuda/dropout.cuh"
#include "ops/embedding/embedding_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kPiece = 32;  // sorted positions that one block sums

constexpr int kSortThreads = 1024;
constexpr int kDigitBits = 4;
constexpr int kDigits = 1 << kDigitBits;

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
  dev::SharedArray<int, kDigits * kSortThreads> counts;  // [digit][thread]
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

/// Stable radix sort of the positions by token, in one block: every thread counts and places a contiguous part. The
/// result is in (keys[passes % 2], order[passes % 2]).
TSUGI_KERNEL(kSortThreads, 1)
sort_positions(const int32_t* tokens, int64_t count, int passes, int32_t* keys0, int32_t* order0, int32_t* keys1,
               int32_t* order1) {
  auto& s = dev::shared<SortShared>();
  const int thread = dev::thread_index();
  const int64_t each = (count + kSortThreads - 1) / kSortThreads;
  const int64_t begin = thread * each < count ? thread * each : count;
  const int64_t end = begin + each < count ? begin + each : count;
  for (int64_t i = begin; i < end; ++i) {
    dev::store(keys0 + i, dev::load(tokens + i));
    dev::store(order0 + i, static_cast<int32_t>(i));
  }
  dev::sync_threads();
  for (int pass = 0; pass < passes; ++pass) {
    const int32_t* keys = pass % 2 == 0 ? keys0 : keys1;
    const int32_t* order = pass % 2 == 0 ? order0 : order1;
    int32_t* to_keys = pass % 2 == 0 ? keys1 : keys0;
    int32_t* to_order = pass % 2 == 0 ? order1 : order0;
    const auto digit_of = [&](int32_t key) { return key >> (pass * kDigitBits) & (kDigits - 1); };
    for (int d = 0; d < kDigits; ++d) s.counts[d * kSortThreads + thread] = 0;
    for (int64_t i = begin; i < end; ++i) s.counts[digit_of(dev::load(keys + i)) * kSortThreads + thread] += 1;
    dev::sync_threads();
    // Thread t scans counts [16·t, 16·t + 16) of the [digit][thread] table.
    int sum = 0;
    for (int j = 0; j < kDigits; ++j) sum += s.counts[thread * kDigits + j];
    int before = prefix_sum(sum, s.scratch);
    for (int j = 0; j < kDigits; ++j) {
      const int here = s.counts[thread * kDigits + j];
      s.counts[thread * kDigits + j] = before;
      before += here;
    }
    dev::sync_threads();
    for (int64_t i = begin; i < end; ++i) {
      const int32_t key = dev::load(keys + i);
      const int slot = digit_of(key) * kSortThreads + thread;
      const int to = s.counts[slot];
      s.counts[slot] = to + 1;
      dev::store(to_keys + to, key);
      dev::store(to_order + to, dev::load(order + i));
    }
    dev::sync_threads();
  }
}

template <class T>
struct Gradient {
  const T* d_out;
  DropoutKey dropout;
  int64_t length, width;

  template <int V>
  TSUGI_DEVICE void add(int64_t at, int64_t column, float (&sum)[V]) const {
    const dev::Vector<T, V> d = dev::load_vector<V>(d_out + at * width + column);
    float factors[V];
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) factors[i] = 1.0f;
    if (dropout.active()) dev::dropout_factors<V>(dropout, at / length, at % length * width + column, factors);
    TSUGI_UNROLL
    for (int i = 0; i < V; ++i) sum[i] += factors[i] * dev::to_float(d[i]);
  }
};

template <int V>
TSUGI_DEVICE void add_to(float* row, const float (&sum)[V]) {
  TSUGI_UNROLL
  for (int i = 0; i < V; ++i) dev::store(row + i, dev::load(row + i) + sum[i]);
}

/// Sums the runs of equal tokens in sorted positions [piece·32, +32). A run that lies inside is added to the table;
/// what belongs to a longer one goes to partial[piece, 0] (it began earlier) or [piece, 1] (it begins here).
template <class T, int V>
TSUGI_KERNEL(kThreads, 8)
sum_runs(Gradient<T> gradient, const int32_t* keys, const int32_t* order, int64_t count, float* partial,
         float* d_table) {
  const int64_t piece = dev::block_index().x;
  const int64_t begin = piece * kPiece;
  const int64_t end = begin + kPiece < count ? begin + kPiece : count;
  const int64_t column = (static_cast<int64_t>(dev::block_index().y) * kThreads + dev::thread_index()) * V;
  if (column >= gradient.width) return;
  float sum[V] = {};
  for (int64_t i = begin; i < end; ++i) {
    const int32_t token = dev::load(keys + i);
    gradient.template add<V>(dev::load(order + i), column, sum);
    if (i + 1 < end && dev::load(keys + i + 1) == token) continue;
    const bool began_earlier = begin > 0 && dev::load(keys + begin - 1) == token;
    const bool goes_on = i + 1 == end && end < count && dev::load(keys + end) == token;
    if (began_earlier || goes_on) {
      float* slot = partial + (piece * 2 + (began_earlier ? 0 : 1)) * gradient.width + column;
      TSUGI_UNROLL
      for (int j = 0; j < V; ++j) dev::store(slot + j, sum[j]);
    } else {
      add_to<V>(d_table + token * gradient.width + column, sum);
    }
    TSUGI_UNROLL
    for (int j = 0; j < V; ++j) sum[j] = 0.0f;
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
  for (int64_t next = piece + 1; next * kPiece < count && dev::load(keys + next * kPiece) == token; ++next) {
    sum += dev::load(partial + next * 2 * width + column);
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
  for (int64_t b = 0; b < batch; ++b) gradient.template add<V>(b * gradient.length + position, column, sum);
  add_to<V>(d_table + position * gradient.width + column, sum);
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
  const int passes = (bits + kDigitBits - 1) / kDigitBits;
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
