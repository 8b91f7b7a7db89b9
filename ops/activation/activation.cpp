#include "ops/activation/activation.h"

#include "ops/activation/activation_internal.h"
#include "ops/base/error.h"

namespace tsugi {

void gelu_backward(const Context& context, const Tensor& pre_activation, const Tensor& d_out, const Tensor& d_pre) {
  const DType type = pre_activation.dtype();
  CHECK(type == DType::kF32 || type == DType::kBF16) << name_of(type);
  CHECK(d_out.dtype() == type && d_pre.dtype() == type);
  CHECK_EQ(d_out.elements(), pre_activation.elements());
  CHECK_EQ(d_pre.elements(), pre_activation.elements());
  if (context.meta()) return;
  if (context.device().kind == Device::Kind::kCuda) throw Error(ExitCode::kUsage, "built without CUDA");
  cpu::gelu_backward(context, pre_activation, d_out, d_pre);
}

}  // namespace tsugi
