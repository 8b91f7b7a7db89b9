#include "ops/cuda/operators.h"
#include "ops/image_tokens/image_tokens_cuda.h"

namespace tsugi::cuda {
namespace {

ImageTokensShape tokens_shape(const Tensor& tokens) {
  const Shape& shape = tokens.shape();
  return {.type = tokens.dtype(), .batch = shape[0], .tokens = shape[1], .width = shape[2]};
}

}  // namespace

void Operators::image_tokens(const Context& context, const Tensor& patches, const Tensor& class_token,
                             const Tensor& positions, const Tensor& out) {
  if (context.meta()) return;
  cuda::image_tokens(stream(), tokens_shape(out), pointer<void>(patches), pointer<void>(class_token),
                     pointer<void>(positions), pointer<void>(out));
}

void Operators::image_tokens_backward(const Context& context, const Tensor& d_out, const Tensor& d_patches,
                                      const Tensor& d_class_token, const Tensor& d_positions) {
  if (context.meta()) return;
  cuda::image_tokens_backward(stream(), tokens_shape(d_out), pointer<void>(d_out), pointer<void>(d_patches),
                              pointer<float>(d_class_token), pointer<float>(d_positions));
}

void Operators::mean_of_patches(const Context& context, const Tensor& x, const Tensor& out) {
  if (context.meta()) return;
  cuda::mean_of_patches(stream(), tokens_shape(x), pointer<void>(x), pointer<void>(out));
}

void Operators::mean_of_patches_backward(const Context& context, const Tensor& d_out, const Tensor& d_x) {
  if (context.meta()) return;
  cuda::mean_of_patches_backward(stream(), tokens_shape(d_x), pointer<void>(d_out), pointer<void>(d_x));
}

}  // namespace tsugi::cuda
