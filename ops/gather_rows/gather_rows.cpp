#include "ops/gather_rows/gather_rows.h"

#include <cstring>

#include "ops/reduce/reduce.h"

namespace tsugi {
namespace {

void check(const Tensor& matrix, const Tensor& indices, const Tensor& rows) {
  CHECK_EQ(matrix.shape()[-1], rows.shape()[-1]);
  CHECK_EQ(rows.shape().rows(), indices.elements());
  CHECK(matrix.dtype() == rows.dtype());
  CHECK(indices.dtype() == DType::kI32);
}

int64_t row_index(const Tensor& indices, int64_t n, int64_t rows) {
  const int64_t row = indices.data<int32_t>()[n];
  CHECK(row >= 0 && row < rows) << "row " << row << " of " << rows;
  return row;
}

}  // namespace

// A few rows per step: the copies are too small for threads.
void gather_rows(const Context& context, const Tensor& x, const Tensor& indices, const Tensor& out) {
  check(x, indices, out);
  if (DeviceOperators* device = context.operators()) return device->gather_rows(context, x, indices, out);
  if (context.meta()) return;
  const size_t row_bytes = static_cast<size_t>(x.shape()[-1]) * size_of(x.dtype());
  for (int64_t n = 0; n < indices.elements(); ++n) {
    std::memcpy(static_cast<std::byte*>(out.raw()) + static_cast<size_t>(n) * row_bytes,
                static_cast<const std::byte*>(x.raw()) +
                    static_cast<size_t>(row_index(indices, n, x.shape().rows())) * row_bytes,
                row_bytes);
  }
}

void gather_rows_backward(const Context& context, const Tensor& indices, const Tensor& d_out, const Tensor& d_x) {
  check(d_x, indices, d_out);
  if (DeviceOperators* device = context.operators()) return device->gather_rows_backward(context, indices, d_out, d_x);
  fill_zero(context, d_x);
  if (context.meta()) return;
  const int64_t width = d_x.shape()[-1];
  dispatch_compute_type(d_x.dtype(), [&]<class T>(T) {
    for (int64_t n = 0; n < indices.elements(); ++n) {
      T* to = d_x.data<T>() + row_index(indices, n, d_x.shape().rows()) * width;
      const T* from = d_out.data<T>() + n * width;
      for (int64_t c = 0; c < width; ++c) to[c] = T(static_cast<float>(to[c]) + static_cast<float>(from[c]));
    }
  });
}

}  // namespace tsugi
