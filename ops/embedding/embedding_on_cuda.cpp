#include "ops/cuda/operators.h"
#include "ops/embedding/embedding_cuda.h"

namespace tsugi::cuda {
namespace {

EmbeddingShape shape_of(const Tensor& values, const Tensor& table) {
  return {.type = values.dtype(),
          .batch = values.shape()[0],
          .tokens = values.shape()[1],
          .width = values.shape()[2],
          .vocabulary = table.shape()[0]};
}

}  // namespace

void Operators::embedding_forward(const Context& context, const Tensor& tokens, const Tensor& token_table,
                                  const Tensor& position_table, int64_t first_position, const Dropout& dropout,
                                  const Tensor& out) {
  Tensor positions = position_table;
  if (positions.defined()) {
    const int64_t width = positions.shape()[1];
    positions = positions.slice(first_position * width, {positions.shape()[0] - first_position, width});
  }
  if (context.meta()) return;
  cuda::embedding_forward(stream(), shape_of(out, token_table), pointer<int32_t>(tokens), pointer<void>(token_table),
                          pointer<void>(positions), key_of(dropout), pointer<void>(out));
}

void Operators::embedding_backward(const Context& context, const Tensor& tokens, const Dropout& dropout,
                                   const Tensor& d_out, const Tensor& d_token_table, const Tensor& d_position_table) {
  const EmbeddingShape shape = shape_of(d_out, d_token_table);
  const Tensor scratch = context.empty({static_cast<int64_t>(embedding_scratch_bytes(shape)) / 4}, DType::kF32);
  if (context.meta()) return;
  cuda::embedding_backward(stream(), shape, pointer<int32_t>(tokens), key_of(dropout), pointer<void>(d_out),
                           pointer<void>(scratch), pointer<float>(d_token_table), pointer<float>(d_position_table));
}

}  // namespace tsugi::cuda
