#include "ops/normalize_rows/normalize_rows.h"

#include <algorithm>
#include <cmath>

#include "ops/tensor/device_objectives.h"

namespace tsugi {
namespace {

constexpr int64_t kNormalizedRowsPerPiece = 32;

template <class F>
void for_each_normalized_row(const Context& context, int64_t rows, F&& body) {
  context.pool().for_each((rows + kNormalizedRowsPerPiece - 1) / kNormalizedRowsPerPiece, [&](int64_t piece, int) {
    const int64_t end = std::min(rows, (piece + 1) * kNormalizedRowsPerPiece);
    for (int64_t row = piece * kNormalizedRowsPerPiece; row < end; ++row) body(row);
  });
}

}  // namespace

void normalize_rows(const Context& context, const Tensor& x, const Tensor& out, const Tensor& scales) {
  CHECK(out.shape() == x.shape() && out.dtype() == DType::kF32);
  CHECK(scales.elements() == x.shape().rows() && scales.dtype() == DType::kF64);
  if (DeviceOperators* device = context.operators()) {
    return device->objectives().normalize_rows(context, x, out, scales);
  }
  if (context.meta()) return;
  const int64_t width = x.shape()[-1];
  dispatch_compute_type(x.dtype(), [&]<class T>(T) {
    for_each_normalized_row(context, x.shape().rows(), [&](int64_t row) {
      const T* const from = x.data<T>() + row * width;
      float* const to = out.data<float>() + row * width;
      double squares = 0.0;
      for (int64_t c = 0; c < width; ++c) {
        const auto value = static_cast<double>(static_cast<float>(from[c]));
        squares += value * value;
      }
      const double scale = 1.0 / std::max(std::sqrt(squares), kShortestRow);
      scales.data<double>()[row] = scale;
      for (int64_t c = 0; c < width; ++c) {
        to[c] = static_cast<float>(static_cast<double>(static_cast<float>(from[c])) * scale);
      }
    });
  });
}

void normalize_rows_backward(const Context& context, const Tensor& out, const Tensor& scales, const Tensor& d_out,
                             const Tensor& d_x) {
  CHECK(out.shape() == d_out.shape() && out.shape() == d_x.shape());
  CHECK(out.dtype() == DType::kF32 && d_out.dtype() == DType::kF32);
  CHECK(scales.elements() == out.shape().rows() && scales.dtype() == DType::kF64);
  if (DeviceOperators* device = context.operators()) {
    return device->objectives().normalize_rows_backward(context, out, scales, d_out, d_x);
  }
  if (context.meta()) return;
  const int64_t width = out.shape()[-1];
  dispatch_compute_type(d_x.dtype(), [&]<class T>(T) {
    for_each_normalized_row(context, out.shape().rows(), [&](int64_t row) {
      const float* const y = out.data<float>() + row * width;
      const float* const d_y = d_out.data<float>() + row * width;
      T* const to = d_x.data<T>() + row * width;
      const double scale = scales.data<double>()[row];
      double along = 0.0;
      for (int64_t c = 0; c < width; ++c) along += static_cast<double>(y[c]) * static_cast<double>(d_y[c]);
      if (scale >= 1.0 / kShortestRow) along = 0.0;
      for (int64_t c = 0; c < width; ++c) {
        store(to[c], static_cast<float>(scale * (static_cast<double>(d_y[c]) - static_cast<double>(y[c]) * along)));
      }
    });
  });
}

}  // namespace tsugi
