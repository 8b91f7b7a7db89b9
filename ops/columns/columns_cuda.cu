#include "ops/columns/columns_cuda.h"
#include "ops/cuda/device.cuh"
#include "ops/cuda/elementwise.cuh"

namespace tsugi::cuda {
namespace {

/// Where element i of [rows, width] stands in the matrix.
TSUGI_DEVICE int64_t place(const ColumnRange& range, int64_t i) {
  return i / range.width * range.stride + range.first + i % range.width;
}

template <class T>
struct Take {
  ColumnRange range;
  const T* x;
  float scale;
  T* out;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    dev::Vector<T, V> values = dev::load_vector<V>(x + place(range, i));
    TSUGI_UNROLL
    for (int j = 0; j < V; ++j) values[j] = dev::round_to<T>(scale * dev::to_float(values[j]));
    dev::store_vector(out + i, values);
  }
};

template <class T>
struct AddTo {
  ColumnRange range;
  const T* addend;
  float scale;
  T* x;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    T* const at = x + place(range, i);
    dev::Vector<T, V> values = dev::load_vector<V>(at);
    const dev::Vector<T, V> more = dev::load_vector<V>(addend + i);
    TSUGI_UNROLL
    for (int j = 0; j < V; ++j) {
      values[j] = dev::round_to<T>(dev::to_float(values[j]) + scale * dev::to_float(more[j]));
    }
    dev::store_vector(at, values);
  }
};

/// Ranges that do not begin and end at 16 bytes go element by element.
template <class T, class Body>
void launch_range(Stream& stream, const ColumnRange& range, const Body& body) {
  constexpr int kV = dev::kVectorElements<T>;
  const int64_t count = range.rows * range.width;
  if (range.width % kV == 0 && range.stride % kV == 0 && range.first % kV == 0) {
    launch_elementwise<kV>(stream, body, count);
  } else {
    launch_elementwise<1>(stream, body, count);
  }
}

}  // namespace

void take_columns(Stream& stream, DType type, const ColumnRange& range, const void* x, float scale, void* out) {
  dispatch_compute_type(type, [&]<class T>(T) {
    launch_range<T>(stream, range, Take<T>{range, static_cast<const T*>(x), scale, static_cast<T*>(out)});
  });
}

void add_to_columns(Stream& stream, DType type, const ColumnRange& range, const void* addend, float scale, void* x) {
  dispatch_compute_type(type, [&]<class T>(T) {
    launch_range<T>(stream, range, AddTo<T>{range, static_cast<const T*>(addend), scale, static_cast<T*>(x)});
  });
}

}  // namespace tsugi::cuda
