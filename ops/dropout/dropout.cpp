#include "ops/dropout/dropout.h"

#include "ops/dropout/dropout_internal.h"
#include "ops/tensor/profile.h"

namespace tsugi {

void apply_dropout(const Context& context, const Dropout& dropout, const Tensor& x, const Tensor& out) {
  CHECK(dropout.active());
  CHECK_LT(dropout.p, 1.0f);
  CHECK(x.dtype() == DType::kF32 || x.dtype() == DType::kBF16) << name_of(x.dtype());
  CHECK(out.dtype() == x.dtype()) << name_of(out.dtype());
  CHECK(out.shape() == x.shape()) << out.shape().to_string();
  CHECK_LE(x.elements() / x.shape()[0], int64_t{1} << 34) << "one stream has 2^34 words";
  const ProfiledOperator work(context, "dropout", 0, {&x, &out});
  if (DeviceOperators* device = context.operators()) return device->apply_dropout(context, dropout, x, out);
  if (context.meta()) return;
  cpu::apply_dropout(context, dropout, x, out);
}

}  // namespace tsugi
