#include "ops/columns/columns.h"

#include <algorithm>
#include <type_traits>

namespace tsugi {
namespace {

constexpr int64_t kRowsPerPiece = 64;

void check(const Tensor& matrix, int64_t first, const Tensor& part) {
  const int64_t width = part.shape()[-1];
  const int64_t stride = matrix.shape()[-1];
  CHECK_EQ(matrix.shape().rows(), part.shape().rows());
  CHECK(matrix.dtype() == part.dtype());
  CHECK(first >= 0 && first <= stride - width) << "columns " << first << " + " << width << " of " << stride;
}

/// Calls f(row of the matrix's range, row of the part, width) for all rows; `matrix` [R, C], `part` [R, N].
template <class F>
void for_each_row(const Context& context, const Tensor& matrix, int64_t first, const Tensor& part, F&& f) {
  if (context.meta()) return;
  const int64_t rows = part.shape().rows();
  const int64_t width = part.shape()[-1];
  const int64_t stride = matrix.shape()[-1];
  dispatch_compute_type(part.dtype(), [&]<class T>(T) {
    context.pool().for_each((rows + kRowsPerPiece - 1) / kRowsPerPiece, [&](int64_t piece, int) {
      const int64_t end = std::min(rows, (piece + 1) * kRowsPerPiece);
      for (int64_t row = piece * kRowsPerPiece; row < end; ++row) {
        f(matrix.data<T>() + row * stride + first, part.data<T>() + row * width, width);
      }
    });
  });
}

}  // namespace

void take_columns(const Context& context, const Tensor& x, int64_t first, float scale, const Tensor& out) {
  check(x, first, out);
  if (DeviceOperators* device = context.operators()) return device->take_columns(context, x, first, scale, out);
  for_each_row(context, x, first, out, [scale](const auto* from, auto* to, int64_t width) {
    using T = std::remove_reference_t<decltype(*to)>;
    for (int64_t c = 0; c < width; ++c) to[c] = T(scale * static_cast<float>(from[c]));
  });
}

void add_to_columns(const Context& context, const Tensor& addend, int64_t first, float scale, const Tensor& x) {
  check(x, first, addend);
  if (DeviceOperators* device = context.operators()) return device->add_to_columns(context, addend, first, scale, x);
  for_each_row(context, x, first, addend, [scale](auto* to, const auto* from, int64_t width) {
    using T = std::remove_reference_t<decltype(*to)>;
    for (int64_t c = 0; c < width; ++c) to[c] = T(static_cast<float>(to[c]) + scale * static_cast<float>(from[c]));
  });
}

}  // namespace tsugi
