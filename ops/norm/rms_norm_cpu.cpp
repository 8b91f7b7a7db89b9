#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/norm/rms_norm_cpu.cpp"
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

void rms_norm_forward_rows(const Context& context, const Tensor& x, const Tensor& branch, const Dropout& dropout,
                           const Tensor& gamma, float epsilon, const Tensor& residual, const Tensor& normed,
                           const Tensor& rstd) {
  const int64_t tokens = x.shape()[1];
  const int64_t width = x.shape()[2];
  const int64_t rows = x.shape().rows();
  const int64_t piece_rows = std::max<int64_t>(1, 8192 / width);
  ThreadPool& pool = context.pool();
  dispatch_compute_type(x.dtype(), [&]<class T>(T) {
    const T* branch_data = branch.defined() ? branch.data<T>() : nullptr;
    T* residual_data = branch.defined() ? residual.data<T>() : nullptr;
    const T* g = gamma.data<T>();
    pool.for_each((rows + piece_rows - 1) / piece_rows, [&](int64_t piece, int worker) {
      float* values = static_cast<float*>(pool.scratch(worker, static_cast<size_t>(2 * width) * sizeof(float)));
      float* factors = values + width;
      for (int64_t row = piece * piece_rows; row < std::min((piece + 1) * piece_rows, rows); ++row) {
        add_branch(x.data<T>() + row * width, branch_data == nullptr ? nullptr : branch_data + row * width, dropout,
                   row, tokens, width, branch_data == nullptr ? nullptr : residual_data + row * width, values, factors);
        float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
        for (int64_t c = 0; c < width; ++c) squares += values[c] * values[c];
        const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(width) + epsilon);
        T* to = normed.data<T>() + row * width;
#pragma omp simd
        for (int64_t c = 0; c < width; ++c) store(to[c], values[c] * inverse * static_cast<float>(g[c]));
        rstd.data<float>()[row] = inverse;
      }
    });
  });
}

void rms_norm_backward_rows(const Context& context, const Tensor& residual, const Tensor& gamma, const Tensor& rstd,
                            const Tensor& d_normed, const Dropout& dropout, bool has_d_residual,
                            const Tensor& d_residual, const Tensor& d_branch, const Tensor& partial,
                            const Tensor& d_gamma) {
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
      float* sums = partial.data<float>() + chunk * width;
      std::fill_n(sums, width, 0.0f);
      for (int64_t row = chunk * kNormRows; row < std::min((chunk + 1) * kNormRows, rows); ++row) {
        const T* x = residual.data<T>() + row * width;
        const T* d = d_normed.data<T>() + row * width;
        const float inverse = rstd.data<float>()[row];
        float product_sum = 0.0f;
#pragma omp simd reduction(+ : product_sum)
        for (int64_t c = 0; c < width; ++c) {
          const float hat = static_cast<float>(x[c]) * inverse;
          const float gradient = static_cast<float>(d[c]);
          const float scaled_gradient = gradient * static_cast<float>(g[c]);
          sums[c] += gradient * hat;
          hats[c] = hat;
          scaled[c] = scaled_gradient;
          product_sum += scaled_gradient * hat;
        }
        const float average = product_sum / static_cast<float>(width);
        T* to = d_residual.data<T>() + row * width;
        if (has_d_residual) {
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) {
            scaled[c] = static_cast<float>(to[c]) + (scaled[c] - hats[c] * average) * inverse;
          }
        } else {
#pragma omp simd
          for (int64_t c = 0; c < width; ++c) scaled[c] = (scaled[c] - hats[c] * average) * inverse;
        }
        store_gradients(scaled, dropout, row, tokens, width, to,
                        to_branch == nullptr ? nullptr : to_branch + row * width, factors);
      }
    });
    add_partial_sums(pool, partial.data<float>(), chunks, width, width, d_gamma.data<float>());
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace tsugi::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tsugi::cpu {

HWY_EXPORT(rms_norm_forward_rows);
HWY_EXPORT(rms_norm_backward_rows);

void residual_rms_norm_forward(const Context& context, const Tensor& x, const Tensor& branch, const Dropout& dropout,
                               const Tensor& gamma, float epsilon, const Tensor& residual, const Tensor& normed,
                               const Tensor& rstd) {
  HWY_DYNAMIC_DISPATCH(rms_norm_forward_rows)
  (context, x, branch, dropout, gamma, epsilon, residual, normed, rstd);
}

void residual_rms_norm_backward(const Context& context, const Tensor& residual, const Tensor& gamma, const Tensor& rstd,
                                const Tensor& d_normed, const Dropout& dropout, bool has_d_residual,
                                const Tensor& d_residual, const Tensor& d_branch, const Tensor& partial,
                                const Tensor& d_gamma) {
  HWY_DYNAMIC_DISPATCH(rms_norm_backward_rows)
  (context, residual, gamma, rstd, d_normed, dropout, has_d_residual, d_residual, d_branch, partial, d_gamma);
}

}  // namespace tsugi::cpu
#endif
