#include <algorithm>
#include <cmath>

#include "ops/reduce/partial_sums.h"
#include "ops/rotary/rotary_internal.h"
#include "ops/tensor/convert_row.h"

namespace tsugi::cpu {
namespace {

/// The cosines and sines of token `index` of [B, T].
struct Angles {
  const float* cosines = nullptr;
  const float* sines = nullptr;
};

Angles angles_of(const Rotary& rotary, int64_t index, int64_t tokens) {
  if (!rotary.table.defined()) return {};
  const int64_t position =
      rotary.positions.defined() ? rotary.positions.data<int32_t>()[index] : rotary.first_position + index % tokens;
  const int64_t dim = rotary.table.shape()[1];
  const float* const row = rotary.table.data<float>() + position * dim;
  return {row, row + dim / 2};
}

/// Turns the planes (x[i], x[i + half]) by the angles, or back by them (sign -1).
template <class From, class To>
void turn(const From* x, const Angles& angles, float sign, int64_t half, To* y) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float cosine = angles.cosines[i];
    const float sine = sign * angles.sines[i];
    const float first = static_cast<float>(x[i]);
    const float second = static_cast<float>(x[i + half]);
    store(y[i], first * cosine - second * sine);
    store(y[i + half], second * cosine + first * sine);
  }
}

int64_t half_of(const Rotary& rotary) { return rotary.table.defined() ? rotary.table.shape()[1] / 2 : 0; }

template <class T>
const T* gamma_of(const Rotary& rotary, int64_t head) {
  return (head < rotary.query_heads ? rotary.query_gamma : rotary.key_gamma).data<T>();
}

/// normed = x · rstd · gamma; returns rstd.
template <class T>
float norm_head(const T* x, const T* gamma, int64_t width, float epsilon, float* normed) {
  widen(x, normed, width);
  float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
  for (int64_t d = 0; d < width; ++d) squares += normed[d] * normed[d];
  const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(width) + epsilon);
#pragma omp simd
  for (int64_t d = 0; d < width; ++d) normed[d] = normed[d] * inverse * static_cast<float>(gamma[d]);
  return inverse;
}

/// From the gradient of the norm's output (in `gradient`) to that of its input x, written to `to`; adds to `d_gamma`.
template <class T>
void norm_head_backward(const T* x, const T* gamma, float inverse, int64_t width, float* gradient, float* d_gamma,
                        T* to) {
  float product_sum = 0.0f;
#pragma omp simd reduction(+ : product_sum)
  for (int64_t d = 0; d < width; ++d) {
    const float hat = static_cast<float>(x[d]) * inverse;
    d_gamma[d] += gradient[d] * hat;
    gradient[d] *= static_cast<float>(gamma[d]);
    product_sum += gradient[d] * hat;
  }
  const float average = product_sum / static_cast<float>(width);
#pragma omp simd
  for (int64_t d = 0; d < width; ++d) {
    store(to[d], (gradient[d] - static_cast<float>(x[d]) * inverse * average) * inverse);
  }
}

}  // namespace

void rotary_forward(const Context& context, const Rotary& rotary, const Tensor& from, const Tensor& to,
                    const Tensor& rstd) {
  const int64_t tokens = from.shape()[1];
  const int64_t rows = from.shape().rows();
  const int64_t width = rotary.head_dim;
  const int64_t half = half_of(rotary);
  const int64_t piece_rows = std::max<int64_t>(1, 8192 / (rotary.heads() * width));
  ThreadPool& pool = context.pool();
  dispatch_compute_type(from.dtype(), [&]<class T>(T) {
    pool.for_each((rows + piece_rows - 1) / piece_rows, [&](int64_t piece, int worker) {
      float* const normed = static_cast<float*>(pool.scratch(worker, static_cast<size_t>(width) * sizeof(float)));
      for (int64_t row = piece * piece_rows; row < std::min((piece + 1) * piece_rows, rows); ++row) {
        const Angles angles = angles_of(rotary, row, tokens);
        for (int64_t head = 0; head < rotary.heads(); ++head) {
          const T* const x = from.data<T>() + row * from.shape()[2] + head * width;
          T* const y = to.data<T>() + row * to.shape()[2] + head * width;
          if (rotary.has_norm()) {
            const float inverse = norm_head(x, gamma_of<T>(rotary, head), width, rotary.epsilon, normed);
            rstd.data<float>()[row * rotary.heads() + head] = inverse;
            turn(normed, angles, 1.0f, half, y);
            narrow(normed + 2 * half, y + 2 * half, width - 2 * half);
          } else {
            turn(x, angles, 1.0f, half, y);
            if (x != y) std::copy(x + 2 * half, x + width, y + 2 * half);
          }
        }
      }
    });
  });
}

void rotary_backward(const Context& context, const Rotary& rotary, const Tensor& from, const Tensor& rstd,
                     const Tensor& gradient, const Tensor& partial, const Tensor& d_query_gamma,
                     const Tensor& d_key_gamma) {
  const int64_t tokens = gradient.shape()[1];
  const int64_t rows = gradient.shape().rows();
  const int64_t width = rotary.head_dim;
  const int64_t half = half_of(rotary);
  const int64_t chunks = (rows + kRotaryTokens - 1) / kRotaryTokens;
  ThreadPool& pool = context.pool();
  dispatch_compute_type(gradient.dtype(), [&]<class T>(T) {
    pool.for_each(chunks, [&](int64_t chunk, int worker) {
      float* const turned = static_cast<float*>(pool.scratch(worker, static_cast<size_t>(width) * sizeof(float)));
      float* const d_gammas = partial.defined() ? partial.data<float>() + chunk * 2 * width : nullptr;
      if (d_gammas != nullptr) std::fill_n(d_gammas, 2 * width, 0.0f);
      for (int64_t row = chunk * kRotaryTokens; row < std::min((chunk + 1) * kRotaryTokens, rows); ++row) {
        const Angles angles = angles_of(rotary, row, tokens);
        for (int64_t head = 0; head < rotary.heads(); ++head) {
          T* const d = gradient.data<T>() + row * gradient.shape()[2] + head * width;
          if (!rotary.has_norm()) {
            turn(d, angles, -1.0f, half, d);
            continue;
          }
          turn(d, angles, -1.0f, half, turned);
          widen(d + 2 * half, turned + 2 * half, width - 2 * half);
          norm_head_backward(from.data<T>() + row * from.shape()[2] + head * width, gamma_of<T>(rotary, head),
                             rstd.data<float>()[row * rotary.heads() + head], width, turned,
                             d_gammas + (head < rotary.query_heads ? 0 : width), d);
        }
      }
    });
  });
  if (!rotary.has_norm()) return;
  add_partial_sums(pool, partial.data<float>(), chunks, 2 * width, width, d_query_gamma.data<float>());
  add_partial_sums(pool, partial.data<float>() + width, chunks, 2 * width, width, d_key_gamma.data<float>());
}

}  // namespace tsugi::cpu
