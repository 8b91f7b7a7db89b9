#include "ops/cuda/operators.h"
#include "ops/replaced_tokens/replaced_tokens.h"
#include "ops/replaced_tokens/replaced_tokens_cuda.h"

namespace tsugi::cuda {

void ObjectiveOperators::draw_rows(const Context& context, const Tensor& scores, int64_t vocabulary,
                                   const TokenDraw& draw, int64_t first_row, const Tensor& drawn) {
  if (vocabulary > kMostDrawn) refuse("drawing from more than 2^24 tokens", "set compute.device: CPU");
  if (context.meta()) return;
  const DeviceTokenDraw key{draw.seed, draw.site, draw.first_sample, draw.rows_per_sample, first_row};
  cuda::draw_rows(operators_->stream(), key, pointer<float>(scores), scores.shape()[0], scores.shape()[1], vocabulary,
                  pointer<int32_t>(drawn));
}

void ObjectiveOperators::replace_tokens(const Context& context, const HiddenTokens& hidden, const Tensor& drawn,
                                        const Tensor& replaced, const Tensor& answers) {
  if (context.meta()) return;
  const int64_t rows = hidden.tokens.shape()[0];
  const DeviceHiddenTokens on_device{rows,
                                     hidden.tokens.shape()[1],
                                     hidden.positions.elements() / rows,
                                     pointer<int32_t>(hidden.tokens),
                                     pointer<int32_t>(hidden.positions),
                                     pointer<int32_t>(hidden.originals),
                                     pointer<int32_t>(hidden.first_key),
                                     pointer<int32_t>(hidden.end_key)};
  cuda::replace_tokens(operators_->stream(), on_device, pointer<int32_t>(drawn), pointer<int32_t>(replaced),
                       pointer<int32_t>(answers));
}

}  // namespace tsugi::cuda
