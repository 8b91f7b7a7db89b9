#include "ops/rotary/rotary.h"

#include <initializer_list>

#include "ops/rotary/rotary_internal.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

void check(const Context& context, const Rotary& rotary, const Tensor& packed) {
  CHECK_GE(rotary.query_heads, 0);
  CHECK_GE(rotary.key_heads, 0);
  CHECK_GE(rotary.heads(), 1);
  CHECK_GE(rotary.head_dim, 1);
  CHECK_EQ(packed.shape().rank(), 3);
  CHECK(packed.dtype() == DType::kF32 || packed.dtype() == DType::kBF16) << name_of(packed.dtype());
  CHECK_GE(packed.shape()[2], rotary.heads() * rotary.head_dim);
  const int64_t batch = packed.shape()[0];
  const int64_t tokens = packed.shape()[1];
  if (rotary.table.defined()) {
    CHECK_EQ(rotary.table.shape().rank(), 2);
    CHECK(rotary.table.dtype() == DType::kF32);
    CHECK_EQ(rotary.table.shape()[1] % 2, 0);
    CHECK_LE(rotary.table.shape()[1], rotary.head_dim);
    if (!rotary.positions.defined()) {
      CHECK_GE(rotary.first_position, 0);
      CHECK_LE(rotary.first_position + tokens, rotary.table.shape()[0]) << "more positions than the table has";
    }
  }
  if (rotary.positions.defined()) {
    CHECK((rotary.positions.shape() == Shape{batch, tokens})) << rotary.positions.shape().to_string();
    CHECK(rotary.positions.dtype() == DType::kI32);
    const bool readable = !context.meta() && context.operators() == nullptr;
    for (int64_t i = 0; readable && rotary.table.defined() && i < batch * tokens; ++i) {
      const int32_t position = rotary.positions.data<int32_t>()[i];
      CHECK(position >= 0 && position < rotary.table.shape()[0]) << "position " << position << " of token " << i;
    }
  }
  CHECK_EQ(rotary.query_gamma.defined(), rotary.key_gamma.defined()) << "both norms or neither";
  if (!rotary.has_norm()) return;
  for (const Tensor& gamma : {rotary.query_gamma, rotary.key_gamma}) {
    CHECK(gamma.shape() == Shape{rotary.head_dim}) << gamma.shape().to_string();
    CHECK(gamma.dtype() == packed.dtype());
  }
}

void check_rstd(const Rotary& rotary, const Tensor& packed, const Tensor& rstd) {
  CHECK_EQ(rstd.defined(), rotary.has_norm());
  if (!rstd.defined()) return;
  CHECK(rstd.dtype() == DType::kF32);
  CHECK_EQ(rstd.elements(), packed.shape().rows() * rotary.heads());
}

}  // namespace

void rotary_forward(const Context& context, const Rotary& rotary, const Tensor& from, const Tensor& to,
                    const Tensor& rstd) {
  check(context, rotary, from);
  CHECK(to.dtype() == from.dtype());
  CHECK_EQ(to.shape().rank(), 3);
  CHECK(to.shape()[0] == from.shape()[0] && to.shape()[1] == from.shape()[1]) << to.shape().to_string();
  CHECK_GE(to.shape()[2], rotary.heads() * rotary.head_dim);
  check_rstd(rotary, from, rstd);
  CHECK(context.meta() || !rotary.has_norm() || to.raw() != from.raw()) << "backward needs what came before the norm";
  const ProfiledOperator work(context, "rotary", 0, {&from, &to});
  if (DeviceOperators* device = context.operators()) return device->rotary_forward(context, rotary, from, to, rstd);
  if (context.meta()) return;
  cpu::rotary_forward(context, rotary, from, to, rstd);
}

void rotary_backward(const Context& context, const Rotary& rotary, const Tensor& from, const Tensor& rstd,
                     const Tensor& gradient, const Tensor& d_query_gamma, const Tensor& d_key_gamma) {
  check(context, rotary, gradient);
  check_rstd(rotary, gradient, rstd);
  if (rotary.has_norm()) {
    CHECK(from.dtype() == gradient.dtype());
    CHECK(from.shape()[0] == gradient.shape()[0] && from.shape()[1] == gradient.shape()[1]);
    for (const Tensor& d_gamma : {d_query_gamma, d_key_gamma}) {
      CHECK(d_gamma.dtype() == DType::kF32);
      CHECK_EQ(d_gamma.elements(), rotary.head_dim);
    }
  }
  const ProfiledOperator work(context, "rotary backward", 0, {&from, &gradient});
  if (DeviceOperators* device = context.operators()) {
    return device->rotary_backward(context, rotary, from, rstd, gradient, d_query_gamma, d_key_gamma);
  }
  Tensor partial;
  if (rotary.has_norm()) {
    const int64_t chunks = (gradient.shape().rows() + cpu::kRotaryTokens - 1) / cpu::kRotaryTokens;
    partial = context.empty({chunks, 2, rotary.head_dim}, DType::kF32);
  }
  if (context.meta()) return;
  cpu::rotary_backward(context, rotary, from, rstd, gradient, partial, d_query_gamma, d_key_gamma);
}

}  // namespace tsugi
