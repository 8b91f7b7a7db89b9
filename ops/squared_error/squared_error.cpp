#include "ops/squared_error/squared_error.h"

#include <algorithm>
#include <cmath>

#include "ops/tensor/device_objectives.h"

namespace tsugi {
namespace {

constexpr int64_t kErrorRowsPerPiece = 16;

/// A row of targets becomes (t - shift)·scale.
struct TargetScale {
  double shift = 0.0;
  double scale = 1.0;
};

TargetScale normalizing_scale(const float* row, int64_t width) {
  double sum = 0.0;
  for (int64_t c = 0; c < width; ++c) sum += static_cast<double>(row[c]);
  const double mean = sum / static_cast<double>(width);
  double squares = 0.0;
  for (int64_t c = 0; c < width; ++c) squares += std::pow(static_cast<double>(row[c]) - mean, 2);
  return {mean, 1.0 / std::sqrt(squares / static_cast<double>(width - 1) + kTargetVariance)};
}

}  // namespace

LossSum squared_error(const Context& context, const Tensor& x, const Tensor& targets, const Tensor& indices,
                      bool normalize, const Tensor& d_x) {
  const int64_t rows = x.shape().rows();
  const int64_t width = x.shape()[-1];
  CHECK(targets.shape()[-1] == width && targets.dtype() == DType::kF32 && width >= 2);
  CHECK(indices.elements() == rows && indices.dtype() == DType::kI32);
  if (d_x.defined()) CHECK(d_x.shape() == x.shape() && d_x.dtype() == x.dtype());
  if (DeviceOperators* device = context.operators()) {
    return device->objectives().squared_error(context, x, targets, indices, normalize, d_x);
  }
  const Tensor errors = context.empty({rows}, DType::kF64);
  LossSum loss;
  if (context.meta()) return loss;
  const int64_t pieces = (rows + kErrorRowsPerPiece - 1) / kErrorRowsPerPiece;
  dispatch_compute_type(x.dtype(), [&]<class T>(T) {
    context.pool().for_each(pieces, [&](int64_t piece, int) {
      const int64_t end = std::min(rows, (piece + 1) * kErrorRowsPerPiece);
      for (int64_t row = piece * kErrorRowsPerPiece; row < end; ++row) {
        const int64_t index = indices.data<int32_t>()[row];
        CHECK(index == kIgnoreIndex || (index >= 0 && index < targets.shape().rows())) << "row " << index;
        T* const slopes = d_x.defined() ? d_x.data<T>() + row * width : nullptr;
        double error = 0.0;
        if (index == kIgnoreIndex) {
          if (slopes != nullptr) std::fill_n(slopes, width, T(0.0f));
        } else {
          const T* const values = x.data<T>() + row * width;
          const float* const target = targets.data<float>() + index * width;
          const TargetScale wanted = normalize ? normalizing_scale(target, width) : TargetScale{};
          for (int64_t c = 0; c < width; ++c) {
            const double difference = static_cast<double>(static_cast<float>(values[c])) -
                                      (static_cast<double>(target[c]) - wanted.shift) * wanted.scale;
            error += difference * difference;
            if (slopes != nullptr) store(slopes[c], static_cast<float>(2.0 * difference / static_cast<double>(width)));
          }
        }
        errors.data<double>()[row] = error / static_cast<double>(width);
      }
    });
  });
  for (int64_t row = 0; row < rows; ++row) {
    loss.sum += errors.data<double>()[row];
    loss.count += indices.data<int32_t>()[row] != kIgnoreIndex;
  }
  return loss;
}

}  // namespace tsugi
