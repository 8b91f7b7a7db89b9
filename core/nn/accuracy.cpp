#include "core/nn/accuracy.h"

#include <algorithm>

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/matmul/matmul.h"
#include "ops/tensor/copy.h"

namespace tsugi {

int64_t count_right(const Context& context, const Tensor& rows, const Parameter& weight, const Parameter& bias,
                    const Tensor& targets, int64_t classes) {
  const Tensor table = weight.value();
  const int64_t columns = table.shape()[0];
  const int64_t all = rows.shape()[0];
  const int64_t step = cross_entropy_chunk_rows(all, columns);
  MatmulOptions product{.transpose_b = true};
  if (bias.defined()) product.bias = bias.value();
  const Tensor scores = context.empty({step, columns}, DType::kF32);
  int64_t right = 0;
  for (int64_t begin = 0; begin < all; begin += step) {
    const int64_t count = std::min(step, all - begin);
    const Tensor some = scores.slice(0, {count, columns});
    matmul(context, rows.slice(begin * rows.shape()[1], {count, rows.shape()[1]}), table, some, product);
    if (context.meta()) continue;
    const Tensor host_scores = on_host(context, some);
    const Tensor host_targets = on_host(context, targets.slice(begin, {count}));
    for (int64_t row = 0; row < count; ++row) {
      const float* const first = host_scores.data<float>() + row * columns;
      right += std::max_element(first, first + classes) - first == host_targets.data<int32_t>()[row];
    }
  }
  return right;
}

}  // namespace tsugi
