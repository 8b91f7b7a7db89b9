#include "ops/cuda/device.cuh"
#include "ops/cuda/elementwise.cuh"
#include "ops/reduce/reduce_cuda.h"

namespace tsugi::cuda {
namespace {

constexpr int kColumns = 32;       // of a block: a lane each
constexpr int kWarps = 8;          // of a block that sums a chunk of rows
constexpr int kPartialWarps = 32;  // of one that sums all partial sums of its columns
constexpr int kAhead = 8;          // rows that a warp loads before it adds the first
constexpr int64_t kChunkRows = 128;

template <int Warps>
struct ColumnShared {
  dev::SharedArray<float, Warps * kColumns> sums;
};

/// The block's sum of rows [begin, end) in column `column` of its lane, valid in warp 0: every warp sums a contiguous
/// part in order, and the parts are added in order.
template <int Warps, class T>
TSUGI_DEVICE float sum_rows(ColumnShared<Warps>& s, const T* x, int64_t stride, int64_t begin, int64_t end,
                            int64_t column, bool inside) {
  const int64_t each = (end - begin + Warps - 1) / Warps;
  const int64_t first = begin + dev::warp_index() * each;
  const int64_t last = first + each < end ? first + each : end;
  float sum = 0.0f;
  for (int64_t row = first; inside && row < last; row += kAhead) {
    float values[kAhead];
    TSUGI_UNROLL
    for (int i = 0; i < kAhead; ++i) {
      values[i] = row + i < last ? dev::to_float(dev::load(x + (row + i) * stride + column)) : 0.0f;
    }
    TSUGI_UNROLL
    for (int i = 0; i < kAhead; ++i) sum += values[i];
  }
  s.sums[dev::warp_index() * kColumns + dev::lane_index()] = sum;
  dev::sync_threads();
  float total = 0.0f;
  if (dev::warp_index() == 0) {
    TSUGI_UNROLL
    for (int w = 0; w < Warps; ++w) total += s.sums[w * kColumns + dev::lane_index()];
  }
  return total;
}

/// partial[chunk, column] = Σ of a chunk of rows.
template <class T>
TSUGI_KERNEL(kWarps * 32, 2)
sum_chunks(const T* x, int64_t rows, int64_t columns, float* partial) {
  const int64_t chunk = dev::block_index().y;
  const int64_t column = static_cast<int64_t>(dev::block_index().x) * kColumns + dev::lane_index();
  const bool inside = column < columns;
  const int64_t begin = chunk * kChunkRows;
  const int64_t end = begin + kChunkRows < rows ? begin + kChunkRows : rows;
  const float sum = sum_rows(dev::shared<ColumnShared<kWarps>>(), x, columns, begin, end, column, inside);
  if (inside && dev::warp_index() == 0) dev::store(partial + chunk * columns + column, sum);
}

/// Columns [0, columns) go to `out`; those behind them, of a grid that reaches so far, to `second`.
TSUGI_KERNEL(kPartialWarps * 32, 1)
add_partials(const float* partial, int64_t count, int64_t stride, int64_t columns, float* out, float* second) {
  const int64_t column = static_cast<int64_t>(dev::block_index().x) * kColumns + dev::lane_index();
  const bool inside = column < (second != nullptr ? 2 * columns : columns);
  const float sum = sum_rows(dev::shared<ColumnShared<kPartialWarps>>(), partial, stride, 0, count, column, inside);
  if (!inside || dev::warp_index() != 0) return;
  float* const at = column < columns ? out + column : second + (column - columns);
  dev::store(at, dev::load(at) + sum);
}

unsigned blocks_of(int64_t count, int64_t size) { return static_cast<unsigned>((count + size - 1) / size); }

template <class T>
struct Add {
  T* a;
  const T* b;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    dev::Vector<T, V> sum = dev::load_vector<V>(a + i);
    const dev::Vector<T, V> other = dev::load_vector<V>(b + i);
    TSUGI_UNROLL
    for (int j = 0; j < V; ++j) sum[j] = dev::round_to<T>(dev::to_float(sum[j]) + dev::to_float(other[j]));
    dev::store_vector(a + i, sum);
  }
};

template <class From, class To>
struct Convert {
  const From* from;
  To* to;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    const dev::Vector<From, V> value = dev::load_vector<V>(from + i);
    dev::Vector<To, V> result;
    TSUGI_UNROLL
    for (int j = 0; j < V; ++j) result[j] = dev::round_to<To>(dev::to_float(value[j]));
    dev::store_vector(to + i, result);
  }
};

}  // namespace

size_t column_sum_scratch_bytes(int64_t rows, int64_t columns) {
  return static_cast<size_t>(blocks_of(rows, kChunkRows)) * static_cast<size_t>(columns) * sizeof(float);
}

void column_sum(Stream& stream, DType type, const void* x, int64_t rows, int64_t columns, float* scratch, float* out) {
  const unsigned chunks = blocks_of(rows, kChunkRows);
  const LaunchSize size{{blocks_of(columns, kColumns), chunks, 1}, kWarps * 32, sizeof(ColumnShared<kWarps>)};
  dispatch_compute_type(
      type, [&]<class T>(T) { launch(stream, sum_chunks<T>, size, static_cast<const T*>(x), rows, columns, scratch); });
  add_partial_sums(stream, scratch, chunks, columns, columns, out);
}

void add_partial_sums(Stream& stream, const float* partial, int64_t count, int64_t stride, int64_t columns, float* out,
                      float* second) {
  const int64_t all = second != nullptr ? 2 * columns : columns;
  launch(stream, add_partials,
         {{blocks_of(all, kColumns), 1, 1}, kPartialWarps * 32, sizeof(ColumnShared<kPartialWarps>)}, partial, count,
         stride, columns, out, second);
}

void add_in_place(Stream& stream, DType type, void* a, const void* b, int64_t count) {
  dispatch_compute_type(type, [&]<class T>(T) {
    launch_elementwise<dev::kVectorElements<T>>(stream, Add<T>{static_cast<T*>(a), static_cast<const T*>(b)}, count);
  });
}

void convert(Stream& stream, DType from_type, const void* from, DType to_type, void* to, int64_t count) {
  dispatch_compute_type(from_type, [&]<class From>(From) {
    dispatch_compute_type(to_type, [&]<class To>(To) {
      launch_elementwise<4>(stream, Convert<From, To>{static_cast<const From*>(from), static_cast<To*>(to)}, count);
    });
  });
}

}  // namespace tsugi::cuda
