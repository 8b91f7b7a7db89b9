#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/activation/activation_cpu.cpp"
#include <hwy/foreach_target.h>  // this file, for every kind of vectors
#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>

#include "ops/activation/activation_forms.h"
#include "ops/activation/activation_internal.h"
#include "ops/base/vector_math.h"

HWY_BEFORE_NAMESPACE();
namespace tsugi::cpu {
namespace HWY_NAMESPACE {

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

void apply(Activation activation, DType type, const void* x, int64_t count, void* out) {
  dispatch_compute_type(type, [&]<class T>(T) {
    const T* const from = static_cast<const T*>(x);
    T* const to = static_cast<T*>(out);
    for_activation(activation, [&]<class A>(A) {
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) store(to[i], A::value(static_cast<float>(from[i])));
    });
  });
}

void differentiate(Activation activation, DType type, const void* x, const void* d_out, int64_t count, void* d_pre) {
  dispatch_compute_type(type, [&]<class T>(T) {
    const T* const at = static_cast<const T*>(x);
    const T* const from = static_cast<const T*>(d_out);
    T* const to = static_cast<T*>(d_pre);
    for_activation(activation, [&]<class A>(A) {
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) {
        store(to[i], static_cast<float>(from[i]) * A::derivative(static_cast<float>(at[i])));
      }
    });
  });
}

/// A row [gate | up], `width` each.
void apply_gated(Activation activation, DType type, const void* row, int64_t width, void* out) {
  dispatch_compute_type(type, [&]<class T>(T) {
    const T* const gate = static_cast<const T*>(row);
    const T* const up = gate + width;
    T* const to = static_cast<T*>(out);
    for_activation(activation, [&]<class A>(A) {
#pragma omp simd
      for (int64_t c = 0; c < width; ++c) {
        store(to[c], A::value(static_cast<float>(gate[c])) * static_cast<float>(up[c]));
      }
    });
  });
}

void differentiate_gated(Activation activation, DType type, const void* row, const void* d_out, int64_t width,
                         void* d_row) {
  dispatch_compute_type(type, [&]<class T>(T) {
    const T* const gate = static_cast<const T*>(row);
    const T* const up = gate + width;
    const T* const d = static_cast<const T*>(d_out);
    T* const d_gate = static_cast<T*>(d_row);
    T* const d_up = d_gate + width;
    for_activation(activation, [&]<class A>(A) {
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
}

}  // namespace HWY_NAMESPACE
}  // namespace tsugi::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tsugi::cpu {
namespace {

HWY_EXPORT(apply);
HWY_EXPORT(differentiate);
HWY_EXPORT(apply_gated);
HWY_EXPORT(differentiate_gated);

constexpr int64_t kPiece = 8192;

/// body(begin, size) for pieces of [0, count).
template <class F>
void for_pieces(const Context& context, int64_t count, F&& body) {
  context.pool().for_each((count + kPiece - 1) / kPiece,
                          [&](int64_t piece, int) { body(piece * kPiece, std::min(kPiece, count - piece * kPiece)); });
}

/// body(row) for the rows of a gated activation of width F.
template <class F>
void for_rows(const Context& context, int64_t rows, int64_t width, F&& body) {
  const int64_t piece_rows = std::max<int64_t>(1, kPiece / width);
  context.pool().for_each((rows + piece_rows - 1) / piece_rows, [&](int64_t piece, int) {
    for (int64_t row = piece * piece_rows; row < std::min((piece + 1) * piece_rows, rows); ++row) body(row);
  });
}

/// Where element `index` lies.
std::byte* at(const Tensor& tensor, int64_t index) {
  return static_cast<std::byte*>(tensor.raw()) + index * static_cast<int64_t>(size_of(tensor.dtype()));
}

}  // namespace

void activation_forward(const Context& context, Activation activation, const Tensor& x, const Tensor& out) {
  for_pieces(context, x.elements(), [&](int64_t begin, int64_t size) {
    HWY_DYNAMIC_DISPATCH(apply)(activation, x.dtype(), at(x, begin), size, at(out, begin));
  });
}

void activation_backward(const Context& context, Activation activation, const Tensor& pre_activation,
                         const Tensor& d_out, const Tensor& d_pre) {
  for_pieces(context, pre_activation.elements(), [&](int64_t begin, int64_t size) {
    HWY_DYNAMIC_DISPATCH(differentiate)
    (activation, d_out.dtype(), at(pre_activation, begin), at(d_out, begin), size, at(d_pre, begin));
  });
}

void gated_activation_forward(const Context& context, Activation activation, const Tensor& gate_up, const Tensor& out) {
  const int64_t width = out.shape()[-1];
  for_rows(context, out.shape().rows(), width, [&](int64_t row) {
    HWY_DYNAMIC_DISPATCH(apply_gated)
    (activation, out.dtype(), at(gate_up, row * 2 * width), width, at(out, row * width));
  });
}

void gated_activation_backward(const Context& context, Activation activation, const Tensor& gate_up,
                               const Tensor& d_out, const Tensor& d_gate_up) {
  const int64_t width = d_out.shape()[-1];
  for_rows(context, d_out.shape().rows(), width, [&](int64_t row) {
    HWY_DYNAMIC_DISPATCH(differentiate_gated)
    (activation, d_out.dtype(), at(gate_up, row * 2 * width), at(d_out, row * width), width,
     at(d_gate_up, row * 2 * width));
  });
}

}  // namespace tsugi::cpu
#endif
