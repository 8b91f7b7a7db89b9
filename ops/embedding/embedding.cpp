#include "ops/embedding/embedding.h"

#include <limits>

#include "ops/embedding/embedding_internal.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

void check_shapes(const Tensor& tokens, const Tensor& values, const Tensor& token_table, const Tensor& position_table,
                  int64_t first_position) {
  CHECK_EQ(tokens.shape().rank(), 2);
  CHECK(tokens.dtype() == DType::kI32);
  CHECK_EQ(token_table.shape().rank(), 2);
  const int64_t batch = tokens.shape()[0];
  const int64_t length = tokens.shape()[1];
  const int64_t width = token_table.shape()[1];
  CHECK((values.shape() == Shape{batch, length, width})) << values.shape().to_string();
  CHECK_LE(tokens.elements(), std::numeric_limits<int32_t>::max());
  if (!position_table.defined()) return;
  CHECK_EQ(position_table.shape().rank(), 2);
  CHECK_EQ(position_table.shape()[1], width);
  CHECK_GE(first_position, 0);
  CHECK_LE(first_position + length, position_table.shape()[0]) << "more positions than the table has";
}

}  // namespace

void embedding_forward(const Context& context, const Tensor& tokens, const Tensor& token_table,
                       const Tensor& position_table, int64_t first_position, const Dropout& dropout,
                       const Tensor& out) {
  check_shapes(tokens, out, token_table, position_table, first_position);
  CHECK(token_table.dtype() == out.dtype());
  if (position_table.defined()) CHECK(position_table.dtype() == out.dtype());
  CHECK(out.dtype() == DType::kF32 || out.dtype() == DType::kBF16);
  const ProfiledOperator work(context, "embedding", 0, {&tokens, &out, &out});
  if (DeviceOperators* device = context.operators()) {
    return device->embedding_forward(context, tokens, token_table, position_table, first_position, dropout, out);
  }
  if (context.meta()) return;
  cpu::embedding_forward(context, tokens, token_table, position_table, first_position, dropout, out);
}

void embedding_backward(const Context& context, const Tensor& tokens, const Dropout& dropout, const Tensor& d_out,
                        const Tensor& d_token_table, const Tensor& d_position_table) {
  check_shapes(tokens, d_out, d_token_table, d_position_table, 0);
  CHECK(d_token_table.dtype() == DType::kF32);
  if (d_position_table.defined()) CHECK(d_position_table.dtype() == DType::kF32);
  CHECK(d_out.dtype() == DType::kF32 || d_out.dtype() == DType::kBF16);
  const ProfiledOperator work(context, "embedding backward", 0, {&tokens, &d_out, &d_out, &d_out});
  if (DeviceOperators* device = context.operators()) {
    return device->embedding_backward(context, tokens, dropout, d_out, d_token_table, d_position_table);
  }
  const Tensor starts = context.empty({d_token_table.shape()[0] + 1}, DType::kI32);
  const Tensor order = context.empty({tokens.elements()}, DType::kI32);
  if (context.meta()) return;
  cpu::embedding_backward(context, tokens, dropout, d_out, d_token_table, d_position_table, starts, order);
}

}  // namespace tsugi
