#include <string>

#include "ops/activation/activation_cuda.h"
#include "ops/activation/activation_forms.h"
#include "ops/base/error.h"
#include "ops/cuda/device.cuh"
#include "ops/cuda/elementwise.cuh"

namespace tsugi::cuda {
namespace {

/// 1 / (1 + e^-x) and its complement. The exponential is at most 2^87, so that both are numbers.
struct Sigmoid {
  float value, complement;
};
TSUGI_DEVICE Sigmoid sigmoid(float x) {
  const float e = dev::exp(dev::minimum(-x, 60.0f));
  const float s = dev::divide(1.0f, 1.0f + e);
  return {s, e * s};
}

/// An activation and its derivative at a point.
struct Point {
  float value, derivative;
};

struct Forms {
  struct Gelu {
    static constexpr float kSlope = 1.5957691216057308f;  // 2·√(2/π)
    static constexpr float kCubic = 0.044715f;
    /// GELU is x·sigmoid(2u), u = √(2/π)·(x + 0.044715·x³).
    static TSUGI_DEVICE Sigmoid inner(float x) { return sigmoid(kSlope * (x + kCubic * x * x * x)); }
    static TSUGI_DEVICE float value(float x) { return x * inner(x).value; }
    static TSUGI_DEVICE Point at(float x) {
      const Sigmoid s = inner(x);
      const float value = x * s.value;
      return {value, s.value + value * s.complement * (kSlope * (1.0f + 3.0f * kCubic * x * x))};
    }
  };
  struct GeluErf {
    static TSUGI_DEVICE float normal_cdf(float x) { return 0.5f * dev::erfc(x * -0.7071067811865476f); }
    static TSUGI_DEVICE float value(float x) { return x * normal_cdf(x); }
    static TSUGI_DEVICE Point at(float x) {
      const float below = normal_cdf(x);
      return {x * below, below + x * 0.3989422804014327f * dev::exp(-0.5f * x * x)};
    }
  };
  struct Silu {
    static TSUGI_DEVICE float value(float x) { return x * sigmoid(x).value; }
    static TSUGI_DEVICE Point at(float x) {
      const Sigmoid s = sigmoid(x);
      const float value = x * s.value;
      return {value, s.value + value * s.complement};
    }
  };
  struct Tanh {
    static TSUGI_DEVICE float value(float x) { return dev::tanh(x); }
    static TSUGI_DEVICE Point at(float x) {
      const float t = dev::tanh(x);
      return {t, 1.0f - t * t};
    }
  };
};

/// What value and derivative share is computed once.
template <class A>
TSUGI_DEVICE Point point_of(float x) {
  if constexpr (requires { A::at(x); }) {
    return A::at(x);
  } else {
    return {A::value(x), A::derivative(x)};
  }
}

template <class F>
void for_activation(Activation activation, F&& f) {
  if (!dispatch_activation<Forms>(activation, f)) throw Error(ExitCode::kInternal, "CUDA: no activation to apply");
}

template <class A, class T>
struct Forward {
  const T* pre;
  T* out;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    dev::Vector<T, V> x = dev::load_vector<V>(pre + i);
    TSUGI_UNROLL
    for (int j = 0; j < V; ++j) x[j] = dev::round_to<T>(A::value(dev::to_float(x[j])));
    dev::store_vector(out + i, x);
  }
};

template <class A, class T>
struct Backward {
  const T* pre;
  const T* d_out;
  T* d_pre;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    const dev::Vector<T, V> x = dev::load_vector<V>(pre + i);
    dev::Vector<T, V> d = dev::load_vector<V>(d_out + i);
    TSUGI_UNROLL
    for (int j = 0; j < V; ++j)
      d[j] = dev::round_to<T>(dev::to_float(d[j]) * point_of<A>(dev::to_float(x[j])).derivative);
    dev::store_vector(d_pre + i, d);
  }
};

/// Element i of [rows, width] stands at i + row·width in the packed rows, its partner `width` further.
template <class A, class T>
struct GatedForward {
  const T* gate_up;
  T* out;
  int64_t width;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    const T* const at = gate_up + i + i / width * width;
    dev::Vector<T, V> gate = dev::load_vector<V>(at);
    const dev::Vector<T, V> up = dev::load_vector<V>(at + width);
    TSUGI_UNROLL
    for (int j = 0; j < V; ++j) {
      gate[j] = dev::round_to<T>(A::value(dev::to_float(gate[j])) * dev::to_float(up[j]));
    }
    dev::store_vector(out + i, gate);
  }
};

template <class A, class T>
struct GatedBackward {
  const T* gate_up;
  const T* d_out;
  T* d_gate_up;
  int64_t width;
  template <int V>
  TSUGI_DEVICE void run(int64_t i) const {
    const int64_t at = i + i / width * width;
    dev::Vector<T, V> gate = dev::load_vector<V>(gate_up + at);
    dev::Vector<T, V> up = dev::load_vector<V>(gate_up + at + width);
    const dev::Vector<T, V> d = dev::load_vector<V>(d_out + i);
    TSUGI_UNROLL
    for (int j = 0; j < V; ++j) {
      const Point point = point_of<A>(dev::to_float(gate[j]));
      const float gradient = dev::to_float(d[j]);
      gate[j] = dev::round_to<T>(gradient * dev::to_float(up[j]) * point.derivative);
      up[j] = dev::round_to<T>(gradient * point.value);
    }
    dev::store_vector(d_gate_up + at, gate);
    dev::store_vector(d_gate_up + at + width, up);
  }
};

/// Rows that are no multiple of 16 bytes go element by element.
template <class T, class Body>
void launch_rows(Stream& stream, const Body& body, int64_t rows, int64_t width) {
  constexpr int kV = dev::kVectorElements<T>;
  if (width % kV == 0) {
    launch_elementwise<kV>(stream, body, rows * width);
  } else {
    launch_elementwise<1>(stream, body, rows * width);
  }
}

/// Calls f with an activation and an element type.
template <class F>
void dispatch(Activation activation, DType type, F&& f) {
  for_activation(activation, [&]<class A>(A a) { dispatch_compute_type(type, [&]<class T>(T t) { f(a, t); }); });
}

}  // namespace

void activation_forward(Stream& stream, Activation activation, DType type, const void* x, void* out, int64_t count) {
  dispatch(activation, type, [&]<class A, class T>(A, T) {
    launch_elementwise<dev::kVectorElements<T>>(stream, Forward<A, T>{static_cast<const T*>(x), static_cast<T*>(out)},
                                                count);
  });
}

void activation_backward(Stream& stream, Activation activation, DType type, const void* pre, const void* d_out,
                         void* d_pre, int64_t count) {
  dispatch(activation, type, [&]<class A, class T>(A, T) {
    launch_elementwise<dev::kVectorElements<T>>(
        stream, Backward<A, T>{static_cast<const T*>(pre), static_cast<const T*>(d_out), static_cast<T*>(d_pre)},
        count);
  });
}

void gated_activation_forward(Stream& stream, Activation activation, DType type, const void* gate_up, void* out,
                              int64_t rows, int64_t width) {
  dispatch(activation, type, [&]<class A, class T>(A, T) {
    launch_rows<T>(stream, GatedForward<A, T>{static_cast<const T*>(gate_up), static_cast<T*>(out), width}, rows,
                   width);
  });
}

void gated_activation_backward(Stream& stream, Activation activation, DType type, const void* gate_up,
                               const void* d_out, void* d_gate_up, int64_t rows, int64_t width) {
  dispatch(activation, type, [&]<class A, class T>(A, T) {
    launch_rows<T>(stream,
                   GatedBackward<A, T>{static_cast<const T*>(gate_up), static_cast<const T*>(d_out),
                                       static_cast<T*>(d_gate_up), width},
                   rows, width);
  });
}

}  // namespace tsugi::cuda
