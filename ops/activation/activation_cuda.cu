#include "ops/activation/activation_cuda.h"
#include "ops/cuda/device.cuh"
#include "ops/cuda/elementwise.cuh"

namespace tsugi::cuda {
namespace {

constexpr float kSlope = 1.5957691216057308f;  // 2·√(2/π)
constexpr float kCubic = 0.044715f;

/// e^(-2u), u = √(2/π)·(x + 0.044715·x³): GELU is x / (1 + that), which does not cancel. Kept finite, so that the
/// derivative of large negative x is 0 and not NaN.
TSUGI_DEVICE float exponential(float x) { return dev::exp(dev::minimum(-kSlope * (x + kCubic * x * x * x), 60.0f)); }

template <class T>
struct Forward {
  const T* pre;
  T* out;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    dev::Vector<T, V> x = dev::load_vector<V>(pre + i);
    TSUGI_UNROLL
    for (int j = 0; j < V; ++j) {
      const float value = dev::to_float(x[j]);
      x[j] = dev::round_to<T>(value / (1.0f + exponential(value)));
    }
    dev::store_vector(out + i, x);
  }
};

template <class T>
struct Backward {
  const T* pre;
  const T* d_out;
  T* d_pre;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    const dev::Vector<T, V> x = dev::load_vector<V>(pre + i);
    dev::Vector<T, V> d = dev::load_vector<V>(d_out + i);
    TSUGI_UNROLL
    for (int j = 0; j < V; ++j) {
      const float value = dev::to_float(x[j]);
      const float e = exponential(value);
      const float s = 1.0f / (1.0f + e);
      const float slope = kSlope * (1.0f + 3.0f * kCubic * value * value);
      d[j] = dev::round_to<T>(dev::to_float(d[j]) * (s + value * s * (e * s) * slope));
    }
    dev::store_vector(d_pre + i, d);
  }
};

}  // namespace

void gelu_forward(Stream& stream, DType type, const void* pre, void* out, int64_t count) {
  dispatch_compute_type(type, [&]<class T>(T) {
    launch_elementwise<dev::kVectorElements<T>>(stream, Forward<T>{static_cast<const T*>(pre), static_cast<T*>(out)},
                                                count);
  });
}

void gelu_backward(Stream& stream, DType type, const void* pre, const void* d_out, void* d_pre, int64_t count) {
  dispatch_compute_type(type, [&]<class T>(T) {
    launch_elementwise<dev::kVectorElements<T>>(
        stream, Backward<T>{static_cast<const T*>(pre), static_cast<const T*>(d_out), static_cast<T*>(d_pre)}, count);
  });
}

}  // namespace tsugi::cuda
