#include <algorithm>

#include "ops/activation/activation_forms.h"
#include "ops/activation/activation_internal.h"
#include "ops/base/vector_math.h"

namespace tsugi::cpu {
namespace {

constexpr int64_t kPiece = 8192;

struct Forms {
  struct Gelu {
    static float value(float x) { return gelu_tanh(x); }
    static float derivative(float x) { return gelu_tanh_derivative(x); }
  };
  struct GeluErf {
    static float value(float x) { return x * normal_cdf(x); }
    static float derivative(float x) { return normal_cdf(x) + x * 0.3989422804014327f * fast_exp(-0.5f * x * x); }
  };
  struct Silu {
    static float value(float x) { return x * fast_sigmoid(x); }
    static float derivative(float x) {
      const float e = fast_exp(-x);
      const float s = 1.0f / (1.0f + e);
      return s + x * s * (e * s);  // e·s = 1 - s
    }
  };
  struct Tanh {
    static float value(float x) { return fast_tanh(x); }
    static float derivative(float x) {
      const float t = fast_tanh(x);
      return 1.0f - t * t;
    }
  };
};

template <class F>
void for_activation(Activation activation, F&& f) {
  CHECK(dispatch_activation<Forms>(activation, f)) << "no activation to apply";
}

/// body(begin, end) for pieces of [0, count).
template <class F>
void for_pieces(const Context& context, int64_t count, F&& body) {
  context.pool().for_each((count + kPiece - 1) / kPiece,
                          [&](int64_t piece, int) { body(piece * kPiece, std::min((piece + 1) * kPiece, count)); });
}

/// body(row) for the rows of a gated activation of width F.
template <class F>
void for_rows(const Context& context, int64_t rows, int64_t width, F&& body) {
  const int64_t piece_rows = std::max<int64_t>(1, kPiece / width);
  context.pool().for_each((rows + piece_rows - 1) / piece_rows, [&](int64_t piece, int) {
    for (int64_t row = piece * piece_rows; row < std::min((piece + 1) * piece_rows, rows); ++row) body(row);
  });
}

}  // namespace

void activation_forward(const Context& context, Activation activation, const Tensor& x, const Tensor& out) {
  dispatch_compute_type(x.dtype(), [&]<class T>(T) {
    const T* from = x.data<T>();
    T* to = out.data<T>();
    for_activation(activation, [&]<class A>(A) {
      for_pieces(context, x.elements(), [&](int64_t begin, int64_t end) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) store(to[i], A::value(static_cast<float>(from[i])));
      });
    });
  });
}

void activation_backward(const Context& context, Activation activation, const Tensor& pre_activation,
                         const Tensor& d_out, const Tensor& d_pre) {
  dispatch_compute_type(pre_activation.dtype(), [&]<class T>(T) {
    const T* x = pre_activation.data<T>();
    const T* from = d_out.data<T>();
    T* to = d_pre.data<T>();
    for_activation(activation, [&]<class A>(A) {
      for_pieces(context, pre_activation.elements(), [&](int64_t begin, int64_t end) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) {
          store(to[i], static_cast<float>(from[i]) * A::derivative(static_cast<float>(x[i])));
        }
      });
    });
  });
}

void gated_activation_forward(const Context& context, Activation activation, const Tensor& gate_up, const Tensor& out) {
  const int64_t width = out.shape()[-1];
  dispatch_compute_type(gate_up.dtype(), [&]<class T>(T) {
    for_activation(activation, [&]<class A>(A) {
      for_rows(context, out.shape().rows(), width, [&](int64_t row) {
        const T* gate = gate_up.data<T>() + row * 2 * width;
        const T* up = gate + width;
        T* to = out.data<T>() + row * width;
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) {
          store(to[c], A::value(static_cast<float>(gate[c])) * static_cast<float>(up[c]));
        }
      });
    });
  });
}

void gated_activation_backward(const Context& context, Activation activation, const Tensor& gate_up,
                               const Tensor& d_out, const Tensor& d_gate_up) {
  const int64_t width = d_out.shape()[-1];
  dispatch_compute_type(gate_up.dtype(), [&]<class T>(T) {
    for_activation(activation, [&]<class A>(A) {
      for_rows(context, d_out.shape().rows(), width, [&](int64_t row) {
        const T* gate = gate_up.data<T>() + row * 2 * width;
        const T* up = gate + width;
        const T* d = d_out.data<T>() + row * width;
        T* d_gate = d_gate_up.data<T>() + row * 2 * width;
        T* d_up = d_gate + width;
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) {
          const float x = static_cast<float>(gate[c]);
          const float value = static_cast<float>(up[c]);
          const float gradient = static_cast<float>(d[c]);
          store(d_gate[c], gradient * value * A::derivative(x));
          store(d_up[c], gradient * A::value(x));
        }
      });
    });
  });
}

}  // namespace tsugi::cpu
