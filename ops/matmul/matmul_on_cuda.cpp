#include "ops/cuda/gemm.h"
#include "ops/cuda/operators.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce_cuda.h"

namespace tsugi::cuda {

void Operators::matmul(const Context& context, const Tensor& a, const Tensor& b, const Tensor& out,
                       const MatmulOptions& options) {
  // The library adds a bias of the result's type alone.
  Tensor bias = options.bias;
  if (bias.defined() && bias.dtype() != out.dtype()) {
    bias = context.empty(options.bias.shape(), out.dtype());
    if (!context.meta()) {
      cuda::convert(stream(), options.bias.dtype(), pointer<void>(options.bias), bias.dtype(), pointer<void>(bias),
                    bias.elements());
    }
  }
  const Gemm product{.m = out.shape()[0],
                     .n = out.shape()[1],
                     .k = a.shape()[options.transpose_a ? 0 : 1],
                     .type = a.dtype(),
                     .out_type = out.dtype(),
                     .transpose_a = options.transpose_a,
                     .transpose_b = options.transpose_b,
                     .accumulate = options.accumulate,
                     .a = pointer<void>(a),
                     .b = pointer<void>(b),
                     .bias = pointer<void>(bias),
                     .pre_activation = pointer<void>(options.pre_activation),
                     .gelu_backward = pointer<void>(options.gelu_backward),
                     .out = pointer<void>(out)};
  ProductShape shape = shape_of(product);
  if (!context.meta()) return gemm(stream(), product, products_.find(shape));
  // Nothing has an address there.
  shape.bias = bias.defined();
  shape.gelu = options.pre_activation.defined();
  shape.gelu_backward = options.gelu_backward.defined();
  products_.meet(shape);
}

}  // namespace tsugi::cuda
