#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/norm/layer_norm_cpu.cpp"
#include <hwy/foreach_target.h>  // this file, for every kind of vectors
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "ops/norm/norm_internal.h"
#include "ops/norm/norm_rows.h"
#include "ops/reduce/partial_sums.h"

HWY_BEFORE_NAMESPACE();
namespace tsugi::cpu {
namespace HWY_NAMESPACE {

/// Rows that take each pass together, so that narrow rows do not wait for one another's sums.
int64_t rows_at_once(int64_t width) {
  constexpr int64_t kElements = 2048;  // they stay in the first cache
  return std::clamp<int64_t>(kElements / width, 1, 16);
}

void layer_norm_forward_rows(const Context& context, const Tensor& x, const Tensor& branch, const Dropout& dropout,
                             const Tensor& gamma, const Tensor& beta, float epsilon, const Tensor& residual,
                             const Tensor& normed, const Tensor& mean, const Tensor& rstd) {
  const int64_t tokens = x.shape()[1];
  const int64_t width = x.shape()[2];
  const int64_t rows = x.shape().rows();
  const int64_t piece_rows = std::max<int64_t>(1, 8192 / width);
  const int64_t group = rows_at_once(width);
  ThreadPool& pool = context.pool();
  dispatch_compute_type(x.dtype(), [&]<class T>(T) {
    const T* x_data = x.data<T>();
    const T* branch_data = branch.defined() ? branch.data<T>() : nullptr;
    T* residual_data = branch.defined() ? residual.data<T>() : nullptr;
    const T* g = gamma.data<T>();
    const T* b = beta.data<T>();
    pool.for_each((rows + piece_rows - 1) / piece_rows, [&](int64_t piece, int worker) {
      float* values =
          static_cast<float*>(pool.scratch(worker, static_cast<size_t>((group + 1) * width) * sizeof(float)));
      float* factors = values + group * width;
      const int64_t end = std::min((piece + 1) * piece_rows, rows);
      for (int64_t first = piece * piece_rows; first < end; first += group) {
        const int64_t count = std::min(group, end - first);
        float* centers = mean.data<float>() + first;
        float* inverses = rstd.data<float>() + first;
        for (int64_t r = 0; r < count; ++r) {
          const int64_t row = first + r;
          float* value = values + r * width;
          add_branch(x_data + row * width, branch_data == nullptr ? nullptr : branch_data + row * width, dropout, row,
                     tokens, width, branch_data == nullptr ? nullptr : residual_data + row * width, value, factors);
          float total = 0.0f;
#pragma omp simd reduction(+ : total)
          for (int64_t c = 0; c < width; ++c) total += value[c];
          centers[r] = total / static_cast<float>(width);
        }
        for (int64_t r = 0; r < count; ++r) {
          const float* value = values + r * width;
          const float center = centers[r];
          float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
          for (int64_t c = 0; c < width; ++c) squares += (value[c] - center) * (value[c] - center);
          inverses[r] = 1.0f / std::sqrt(squares / static_cast<float>(width) + epsilon);
        }
        for (int64_t r = 0; r < count; ++r) {
          const float* value = values + r * width;
          const float center = centers[r];
          const float inverse = inverses[r];
          T* to = normed.data<T>() + (first + r) * width;
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) {
            store(to[c], (value[c] - center) * inverse * static_cast<float>(g[c]) + static_cast<float>(b[c]));
          }
        }
      }
    });
  });
}

void layer_norm_backward_rows(const Context& context, const Tensor& residual, const Tensor& gamma, const Tensor& mean,
                              const Tensor& rstd, const Tensor& d_normed, const Dropout& dropout, bool has_d_residual,
                              const Tensor& d_residual, const Tensor& d_branch, const Tensor& partial,
                              const Tensor& d_gamma, const Tensor& d_beta) {
  const int64_t tokens = residual.shape()[1];
  const int64_t width = residual.shape()[2];
  const int64_t rows = residual.shape().rows();
  const int64_t chunks = partial.shape()[0];
  ThreadPool& pool = context.pool();
  dispatch_compute_type(residual.dtype(), [&]<class T>(T) {
    const T* g = gamma.data<T>();
    T* to_branch = dropout.active() ? d_branch.data<T>() : nullptr;
    pool.for_each(chunks, [&](int64_t chunk, int worker) {
      float* hats = static_cast<float*>(pool.scratch(worker, static_cast<size_t>(3 * width) * sizeof(float)));
      float* scaled = hats + width;
      float* factors = scaled + width;
      float* gamma_sums = partial.data<float>() + chunk * 2 * width;
      float* beta_sums = gamma_sums + width;
      std::fill_n(gamma_sums, 2 * width, 0.0f);
      for (int64_t row = chunk * kNormRows; row < std::min((chunk + 1) * kNormRows, rows); ++row) {
        const T* x = residual.data<T>() + row * width;
        const T* d = d_normed.data<T>() + row * width;
        const float center = mean.data<float>()[row];
        const float inverse = rstd.data<float>()[row];
        float sum = 0.0f;
        float product_sum = 0.0f;
#pragma omp simd reduction(+ : sum, product_sum)
        for (int64_t c = 0; c < width; ++c) {
          const float hat = (static_cast<float>(x[c]) - center) * inverse;
          const float gradient = static_cast<float>(d[c]);
          const float scaled_gradient = gradient * static_cast<float>(g[c]);
          gamma_sums[c] += gradient * hat;
          beta_sums[c] += gradient;
          hats[c] = hat;
          scaled[c] = scaled_gradient;
          sum += scaled_gradient;
          product_sum += scaled_gradient * hat;
        }
        const float average = sum / static_cast<float>(width);
        const float product_average = product_sum / static_cast<float>(width);
        T* to = d_residual.data<T>() + row * width;
        if (has_d_residual) {
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) {
            scaled[c] = static_cast<float>(to[c]) + (scaled[c] - average - hats[c] * product_average) * inverse;
          }
        } else {
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) scaled[c] = (scaled[c] - average - hats[c] * product_average) * inverse;
        }
        store_gradients(scaled, dropout, row, tokens, width, to,
                        to_branch == nullptr ? nullptr : to_branch + row * width, factors);
      }
    });
    add_partial_sums(pool, partial.data<float>(), chunks, 2 * width, width, d_gamma.data<float>());
    add_partial_sums(pool, partial.data<float>() + width, chunks, 2 * width, width, d_beta.data<float>());
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace tsugi::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tsugi::cpu {

HWY_EXPORT(layer_norm_forward_rows);
HWY_EXPORT(layer_norm_backward_rows);

void residual_layer_norm_forward(const Context& context, const Tensor& x, const Tensor& branch, const Dropout& dropout,
                                 const Tensor& gamma, const Tensor& beta, float epsilon, const Tensor& residual,
                                 const Tensor& normed, const Tensor& mean, const Tensor& rstd) {
  HWY_DYNAMIC_DISPATCH(layer_norm_forward_rows)
  (context, x, branch, dropout, gamma, beta, epsilon, residual, normed, mean, rstd);
}

void residual_layer_norm_backward(const Context& context, const Tensor& residual, const Tensor& gamma,
                                  const Tensor& mean, const Tensor& rstd, const Tensor& d_normed,
                                  const Dropout& dropout, bool has_d_residual, const Tensor& d_residual,
                                  const Tensor& d_branch, const Tensor& partial, const Tensor& d_gamma,
                                  const Tensor& d_beta) {
  HWY_DYNAMIC_DISPATCH(layer_norm_backward_rows)
  (context, residual, gamma, mean, rstd, d_normed, dropout, has_d_residual, d_residual, d_branch, partial, d_gamma,
   d_beta);
}

}  // namespace tsugi::cpu
#endif
