#include "ops/columns/columns_cuda.h"
#include "ops/cuda/operators.h"

namespace tsugi::cuda {
namespace {

ColumnRange range_of(const Tensor& matrix, int64_t first, const Tensor& part) {
  return {.rows = part.shape().rows(), .stride = matrix.shape()[-1], .first = first, .width = part.shape()[-1]};
}

}  // namespace

void Operators::take_columns(const Context& context, const Tensor& x, int64_t first, float scale, const Tensor& out) {
  if (context.meta()) return;
  cuda::take_columns(stream(), x.dtype(), range_of(x, first, out), pointer<void>(x), scale, pointer<void>(out));
}

void Operators::add_to_columns(const Context& context, const Tensor& addend, int64_t first, float scale,
                               const Tensor& x) {
  if (context.meta()) return;
  cuda::add_to_columns(stream(), x.dtype(), range_of(x, first, addend), pointer<void>(addend), scale, pointer<void>(x));
}

}  // namespace tsugi::cuda
