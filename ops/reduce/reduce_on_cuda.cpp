#include "ops/cuda/operators.h"
#include "ops/reduce/reduce_cuda.h"

namespace tsugi::cuda {

void Operators::column_sum(const Context& context, const Tensor& x, const Tensor& out) {
  const int64_t rows = x.shape()[0];
  const int64_t columns = x.shape()[1];
  const auto bytes = static_cast<int64_t>(column_sum_scratch_bytes(rows, columns));
  const Tensor scratch = context.empty({bytes / 4}, DType::kF32);
  if (context.meta()) return;
  cuda::column_sum(stream(), x.dtype(), pointer<void>(x), rows, columns, pointer<float>(scratch), pointer<float>(out));
}

void Operators::add_in_place(const Context& context, const Tensor& a, const Tensor& b) {
  if (context.meta()) return;
  cuda::add_in_place(stream(), a.dtype(), pointer<void>(a), pointer<void>(b), a.elements());
}

void Operators::fill_zero(const Context& context, const Tensor& x) {
  if (context.meta() || x.bytes() == 0) return;
  stream().fill(pointer<void>(x), 0, x.bytes());
}

void Operators::convert(const Context& context, const Tensor& from, const Tensor& to) {
  if (context.meta()) return;
  cuda::convert(stream(), from.dtype(), pointer<void>(from), to.dtype(), pointer<void>(to), from.elements());
}

}  // namespace tsugi::cuda
