#include "ops/cuda/device.cuh"
#include "ops/cuda/dropout.cuh"
#include "ops/cuda/elementwise.cuh"
#include "ops/dropout/dropout_cuda.h"

namespace tsugi::cuda {
namespace {

template <class T>
struct Drop {
  DropoutKey dropout;
  const T* x;
  T* out;
  int64_t width;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    dev::Vector<T, V> values = dev::load_vector<V>(x + i);
    float factors[V];
    dev::dropout_factors<V>(dropout, i / width, i % width, factors);
    TSUGI_UNROLL
    for (int j = 0; j < V; ++j) values[j] = dev::round_to<T>(factors[j] * dev::to_float(values[j]));
    dev::store_vector(out + i, values);
  }
};

}  // namespace

void apply_dropout(Stream& stream, DType type, const DropoutKey& dropout, const void* x, void* out, int64_t rows,
                   int64_t width) {
  dispatch_compute_type(type, [&]<class T>(T) {
    constexpr int kV = dev::kVectorElements<T>;
    const Drop<T> body{dropout, static_cast<const T*>(x), static_cast<T*>(out), width};
    if (width % kV == 0) {
      launch_elementwise<kV>(stream, body, rows * width);
    } else {
      launch_elementwise<1>(stream, body, rows * width);
    }
  });
}

}  // namespace tsugi::cuda
